"""From a configuration to a package's folder: the pipeline, its tasks and workers, its cached pieces, the manifest."""
