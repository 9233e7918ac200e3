"""A folder for the path of processes that a program starts: Python runs its ``sitecustomize`` first."""
