"""One claim per figure: `figures/<name>.py` draws `figures/<name>.svg` and `.png`; `python -m figures` draws all."""
