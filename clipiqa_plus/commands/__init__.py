"""The command ``clipiqa``: every module in this room with a public ``app`` is one of its topics.

In come the words of a command line, out go files, printed tables and an exit code. Each function is
a command: its signature gives the options, its docstring the help. It imports what it needs when it
runs, so that ``clipiqa --help`` answers at once.
"""
