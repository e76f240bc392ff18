"""From a config of Hydra to objects: the settings of a command, its parts, the folder of its model."""
