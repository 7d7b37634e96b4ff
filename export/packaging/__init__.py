"""From a configuration to a package's folder: the pipeline, its tasks and workers, cached artifacts, the manifest."""
