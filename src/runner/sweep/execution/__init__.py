"""The processes that run the jobs of a sweep.

machine    how many jobs run at a time, and the GPUs and threads of each
pool       start and watch several jobs at a time
processes  the processes of a job: one, or the ranks of a data-parallel run
tasks      jobs that another launcher runs in several tasks
server     the process that has imported torch and forks a process for each job
preload    prepares the server
worker     the functions that run in the processes
"""
