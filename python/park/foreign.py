"""What another interpreter runs to become a zygote of a session: `COMMAND foreign.py VERSION EXECUTABLE CLOUDPICKLE`.

A runtime environment's `py_executable` is a command line that runs Python, of a virtual environment for example. Its workers are forked
from a zygote as all others are, and that zygote is a process of that command; park-core/src/proc/foreign.rs says how it is started, and
who ends with whom.

What comes from the driver, whatever is installed here, are `park` and `cloudpickle`: both ends of a session speak through them, so both
must have the same. Of all other modules those installed here win, and after them come the program's own folders; nothing that is installed
for the driver's interpreter is seen. The native module is built for the stable ABI, but pickled functions are code of one minor version of
Python, so that must be the driver's. Until that is known, this file must be one that any Python can read.
"""

import os
import sys


def main(park, version, executable, cloudpickle):
    """Become a zygote, if this is the Python that it must be."""
    here = "{}.{}".format(*sys.version_info[:2])
    if here != version or sys.implementation.name != "cpython":
        sys.exit(
            f"{sys.executable} is {sys.implementation.name} {here}, and the driver's interpreter, {executable}, is cpython {version}: functions and values cannot be sent from one to the other; "
            f"make the environment with Python {version}"
        )
    _find_as_driver(park=park, cloudpickle=cloudpickle)
    from park import zygote

    zygote.main(foreign=True)


def _find_as_driver(**packages):
    """Have these packages found where the driver has them."""
    from importlib.util import spec_from_file_location

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name in packages:
                folder = packages[name]
                start = os.path.join(folder, "__init__.py")
                return spec_from_file_location(name, start, submodule_search_locations=[folder])

    sys.meta_path.insert(0, Finder)


if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    # The folder of this file, with modules that are park's, was put where programs have theirs.
    if sys.path and os.path.abspath(sys.path[0]) == folder:
        del sys.path[0]
    # What starts a process from here (multiprocessing does) is not to run this file again there.
    del __file__
    arguments, sys.argv = sys.argv[1:], [""]
    main(folder, *arguments)
