"""Finding plugins, and choosing among what they brought."""
