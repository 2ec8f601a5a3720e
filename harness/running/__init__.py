"""From a selection to evidence and certificates: plan, task, runner, containment."""
