"""One module for each verb, and what the verbs share: the job, how a run is watched, how it finishes."""
