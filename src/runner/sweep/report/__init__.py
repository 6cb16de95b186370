"""What a sweep reports.

screen   the console output
table    the results: sweep.csv, sweep.json and sweep.md
picture  the results: sweep.png
margins  charts for TensorBoard: the mean over seeds or folds, and a band around it
"""
