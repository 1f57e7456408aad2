"""What workers print reaches the driver: line by line, with the name and process of who printed it.

```text
worker   fd 1, fd 2   each a pipe; `stream` puts a line with the name before what it is the first to print
zygote   makes the pipes when it forks the worker, and sends the ends to read from over the link
driver   `reader`, one thread: cuts lines, `dedup` holds back what many say, prints to sys.stdout and sys.stderr
```
Pipes rather than Python objects, so that what C code and child processes print comes through too. The driver reads, not the
zygote: only the driver knows where its `sys.stdout` goes, in a notebook or under pytest.
"""
