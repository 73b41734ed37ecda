"""Update rules: how a step changes the factors, given their gradient and what the rule remembers."""
