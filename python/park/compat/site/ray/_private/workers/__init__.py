"""The program that workers run; `default_worker` imports what it imports."""
