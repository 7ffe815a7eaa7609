"""Code that runs outside the trainer: supervisor, template, checker and candidate; standard library only.

Started with `python -s -S -P` and nothing else of this project on the path, so nothing here imports `collm`.
"""
