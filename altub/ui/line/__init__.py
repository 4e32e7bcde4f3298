"""The Line tab: drift watch, adapting a model, watched folders, the camera."""
