"""Claims of the paper with their verdicts, from config/claims.yaml and the small files of docs/study alone."""
