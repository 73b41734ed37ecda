"""Studies: cells x trials of one question, stated once, and run anywhere."""

from __future__ import annotations

from pathlib import Path

from fastflow.studies.cost import Cost, predict_cost
from fastflow.studies.design import Design
from fastflow.studies.executors import Submits
from fastflow.studies.result import StudyResult
from fastflow.studies.running import run_study
from fastflow.studies.tasks import RAISE


class Study(Design):
    """A Monte Carlo study: one to four axes, and in each cell of their product so many trials.

    Parameters
    ----------
    ensemble : an ensemble of `fastflow.ensembles`, how a trial draws its problem
    network, init, method : as those of `fastflow.train`, with its defaults
        The method may be a baseline, such as ``ff.baselines.BasisPursuit()``, which needs neither network nor init: a
        `fastflow.baselines.Baseline`, or any object whose ``solve(problem)`` gives the solution, and whose
        ``check(problem)``, if it has one, raises for a problem of another kind. What it holds must be numbers, strings
        and arrays, by which a store knows it again.
    axes : dict, name: values
        A field of ensemble, network, init or method, by its bare name if only one of them has it, else by
        ``"init.scale"`` and the like. Or ``"method": {label: method, ...}``, and so for the other three. What moves
        along with axes is no axis of its own: `together`, or a function at the top level of a module, whose parameters
        name the axes that it follows, ``{"sparsity": [2, 4], "m": measurements}``.
    trials : int >= 1, for each cell
    success : Success
    seed : int >= 0, or a Generator or None, as that of `fastflow.train`: a store goes on with the integer alone
    problem : "per trial", "per cell" or "shared"
        Whether every trial draws a problem, or all that have the same ensemble share one, or all of the study do (which
        then has no axis in the ensemble); of the last two trials differ by their start.
    starts : int >= 1
        Starts of each trial, of which the one with the least loss counts.
    outcomes : what is kept of each trial beside error, loss, steps, seconds and status; default nothing
        A list of names, or a dict, label: outcome. An outcome is a name of the table in `fastflow.studies.measures`:
        of vectors l1_norm, l2_norm, support_size and support_recovery; of matrices effective_rank, numerical_rank,
        entropy_rank, stable_rank, nuclear_norm, spectral_norm, frobenius_norm and determinant_sign; of networks
        balancedness, effective_alpha, gain, sharpness, limit_distance and period; test_loss, where the ensemble has a
        ``test``. Or it is a function of yours, as a `fastflow.Outcome`, or a `fastflow.Event`.

    Attributes
    ----------
    words : name -> object, the ensemble, network, init and method; None for what is not needed, or is an axis
    axes : tuple of Axis
    trials, seed, starts : int
    problem : str
    success : Success
    asked : label -> what is asked of each trial, the outcomes
    fields : label -> what is kept of each trial: its dtype and shape, and what stands for what is not done
        Where an `Outcome` does not state these, the result's ``fields`` has them.

    Raises
    ------
    ValueError, TypeError
        for what is wrong or does not combine, in any cell, before any work

    Notes
    -----
    Random numbers are keyed by values (`fastflow.streams`): the draw of a problem by (seed, "problem", the ensemble's
    values, trial), that of a start by (seed, "init", shapes, trial, start). So methods, scales and depths share draws,
    and more values or trials change nothing of what there is.

    Examples
    --------
    >>> ensemble = fastflow.ensembles.Sparse(n=100)
    >>> study = fastflow.Study(ensemble, method=fastflow.FlowLimit(), axes={"m": [20, 40], "sparsity": [2, 4, 8]})
    >>> study.cells
    6
    """

    def run(
        self,
        executor: Submits | None = None,
        store: str | Path | None = None,
        *,
        threads: int | None = None,
        shard: tuple[int, int] | None = None,
        max_seconds: float | None = None,
        progress: bool | None = None,
        adaptive: bool = False,
        repair: bool = False,
        task_seconds: float | None = None,
        on_error: str = RAISE,
        task_timeout: float | None = None,
        max_task_seconds: float | None = None,
    ) -> StudyResult:
        """Compute the trials that are not yet done.

        Parameters
        ----------
        executor : anything with ``submit(f, *args)`` that gives a future, or a dask ``Client``; default threads
            It is not shut down. Each task uses one thread.
        store : folder of a Zarr store; default none, and all is lost with the process
            One that exists goes on: outcomes that are there are not computed again. It may have fewer trials, fewer
            values of axes, other outcomes and another success than the study, nothing else. Trials that lack an outcome
            are run again for it, as a warning says beforehand; what the store has of them must come out the same, and
            stays. Outcomes that the study does not ask for stay, too.
        threads : int, without an executor; default the CPUs that this process may use
        shard : (i, k), of the k shares that number i alone, from 0 on; `merge` puts stores together
            Shares of the cells, or where they are more than these of the trials of each cell.
        max_seconds : float, after which no more tasks are handed out; the result is then not complete
            Tasks have half a second more. Without an executor those that take longer are left behind, and what they
            were at is lost. What takes long is at work most of the time, so the rates of cells that are partly done
            then lean to fast trials: simulated with 8 threads in a cell of 100 trials, whose failures take 3 to 10
            times as long as its successes, by 0.03 to 0.12, with fewer than 20 of them done by 0.3; with one thread by
            less than 0.03 (``python -m benchmarks.stopping``). Cells that are whole do not, and
            `StudyResult.partly_done` counts the others. So it is where an interrupt ends the run.
        progress : show a bar on standard error; default: after a second, in terminals and notebooks, and elsewhere
            lines through `logging` (``fastflow``, at the level INFO).
            With a store it counts what is stored. Cells come in random order, so the time that it expects is an honest
            one.
        adaptive : spend trials where the transition is
            The first 20 trials of a cell are its pilot: where the 95% interval of their rate of success meets (0.2,
            0.8) the cell has all trials of the study, elsewhere 20 more. Pilots count in no rate, fit or picture,
            since a rate whose own trials decide how many there are is biased; without them it is one of independent
            trials. A study of at most 40 trials has no pilots, and all trials in all cells.
        repair : take trials whose part of the store is damaged for not done
        task_seconds : float, what a task should take, default a quarter of a second
            More where the executor has hundreds of workers; no bit depends on it.
        on_error : "raise" or "record", what becomes of the study when a trial raises an exception
            It ends and names the trial; or the trial has the status FAILED, for good, and a warning names the first.
            Where only an outcome raises that was asked for, the trial has none instead (NaN), and keeps the others. One
            that gets no memory is tried with nothing beside it, and fails if that does not help either; where hardly
            any is left to the process the study ends.
            Trials that hang, see ``task_timeout``, or of which workers die, are tried three times and more, and end or
            fail likewise, but when all the others are done. After three of a cell no more of it are tried.
            A `concurrent.futures.ProcessPoolExecutor` that a death has broken is replaced by another like it.
        task_timeout : float, seconds that a task may take; default no limit
            What takes longer is left behind, and its trials are tried again one at a time. So it is the time that one
            trial may take, and what compiling takes, up to a minute. Processes of which none answers are killed.
        max_task_seconds : float, after which a task begins no other trial and hands back those that it has done
            The rest is handed out again, and no bit depends on it; the trial that a task is at is brought to its end.
            For workers that have but so much time. A process of a pool, or of dask, that is told to end (SIGTERM) hands
            back what its task has done, too, as far as nobody else listens to that signal there; with
            ``max_task_seconds`` up to the last trials, else cell by cell.

        Returns
        -------
        StudyResult

        Raises
        ------
        StoreError
            when the store is damaged, in use, of another study, or cannot be written
        StudyError
            when a trial raises, hangs or kills its workers, with ``on_error="raise"``, or the executor is lost; when no
            trial tells which shape and dtype an `Outcome` has
        StudyInterrupted
            on Ctrl-C, a `KeyboardInterrupt`
        MemoryError
            when the outcomes take more memory than there is

        Warns
        -----
        UserWarning
            where trials are run again for an outcome, and how many; where trials failed, or lack an outcome though they
            have a solution, or solutions of baselines are not finite (DIVERGED) or not as accurate as the baseline
            states (INACCURATE), with the first of them; where workers died
        """
        return run_study(
            self,
            executor,
            store,
            threads,
            shard,
            max_seconds,
            progress,
            adaptive,
            repair,
            task_seconds,
            on_error,
            task_timeout,
            max_task_seconds,
        )

    def cost(self, cells: int = 64, trials: int = 2, threads: int | None = None) -> Cost:
        """What the study will cost in time and memory; nothing is kept.

        Parameters
        ----------
        cells, trials : int >= 1
            How many cells are probed, drawn at random, and how many trials of each, computed together.
        threads : int, default the CPUs that this process may use

        Returns
        -------
        Cost
            Its interval knows the spread of the trials that were probed, not what compiling will take.
        """
        return predict_cost(self, cells, trials, threads)
