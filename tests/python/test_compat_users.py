"""Programs of other libraries, unchanged, on park: joblib as scikit-learn uses it, and Ray's stand-in for multiprocessing."""

import subprocess
import sys
import textwrap

import pytest
from helpers import ON_RAY

pytestmark = [pytest.mark.park_only, pytest.mark.skipif(ON_RAY, reason="a promise of park")]


def run(tmp_path, program):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    command = [sys.executable, "-W", "error::DeprecationWarning", "-m", "park.compat.ray", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_grid_search_of_scikit_learn(tmp_path):
    pytest.importorskip("sklearn")
    assert run(
        tmp_path,
        """
        import os
        import joblib
        import ray
        from ray.util.joblib import register_ray
        from sklearn.datasets import load_digits
        from sklearn.model_selection import GridSearchCV
        from sklearn.naive_bayes import GaussianNB

        ray.init(num_cpus=2)
        register_ray()
        images, digits = load_digits(return_X_y=True)
        search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2, 1.0]}, cv=3, n_jobs=-1)
        with joblib.parallel_backend("ray"):
            search.fit(images, digits)
            pids = set(joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(8)))
        with joblib.parallel_config(backend="ray", n_jobs=2):
            squares = joblib.Parallel()(joblib.delayed(pow)(number, 2) for number in range(100))
        print(search.best_score_ > 0.7, os.getpid() in pids, squares == [number**2 for number in range(100)])
        """,
    ) == ["True", "False", "True"]


def test_an_error_in_a_parallel_loop_is_raised(tmp_path):
    pytest.importorskip("joblib")
    assert run(
        tmp_path,
        """
        import joblib, ray
        from ray.util.joblib import register_ray

        register_ray()
        try:
            with joblib.parallel_backend("ray", n_jobs=2):
                joblib.Parallel()(joblib.delayed(divmod)(1, number) for number in (1, 0))
        except ZeroDivisionError:
            print("raised", ray.is_initialized())
        """,
    ) == ["raised", "True"]


def test_a_program_of_multiprocessing(tmp_path):
    assert run(
        tmp_path,
        """
        import os
        from ray.util.multiprocessing import Pool, TimeoutError

        def start(value):
            os.environ["BASE"] = str(value)

        def add(number):
            return int(os.environ["BASE"]) + number

        def slow(_):
            import time
            time.sleep(30)

        if __name__ == "__main__":
            with Pool(2, initializer=start, initargs=(10,)) as pool:
                print(pool.map(add, range(5)) == list(range(10, 15)), sorted(pool.imap_unordered(add, range(3))))
                print(pool.starmap(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)], pool.apply(os.getpid) != os.getpid())
                try:
                    pool.apply_async(slow, (0,)).get(timeout=0.1)
                except TimeoutError:
                    print("late")
                pool.terminate()
        """,
    ) == ["True", "[10,", "11,", "12]", "True", "True", "late"]
