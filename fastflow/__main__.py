"""``python -m fastflow`` is the command ``fastflow``."""

from fastflow.shell import main

raise SystemExit(main())
