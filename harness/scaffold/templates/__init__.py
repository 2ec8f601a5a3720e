"""The files of a new plugin, with ``my-defense`` where the name of the defense goes."""
