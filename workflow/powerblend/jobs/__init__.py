"""The jobs of a study: what each rule of the workflow runs, with its arguments."""
