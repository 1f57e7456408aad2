"""`runtime_env`: variables, folders, modules and hooks of a session, a task or an actor."""

import os
import subprocess
import sys
import zipfile

import park as ray
import pytest

pytestmark = pytest.mark.park_only  # Ray takes seconds for each environment, and copies folders

SESSION = {"num_cpus": 2, "runtime_env": {"env_vars": {"PARK_TEST_JOB": "job", "PARK_TEST_BOTH": "job"}}}


@ray.remote
def variable(*names):
    return [os.environ.get(name) for name in names]


@ray.remote
class Actor:
    start = os.environ.get("PARK_TEST_ACTOR")

    def __init__(self):
        self.at_start = os.environ.get("PARK_TEST_ACTOR")

    def variable(self, *names):
        return [os.environ.get(name) for name in names], self.at_start

    def child(self, *names):
        return ray.get(variable.remote(*names))

    def env(self):
        return ray.get_runtime_context().runtime_env


@pytest.fixture
def module_folder(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("VALUE = 'package'\n")
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "local_module.py").write_text("VALUE = 'local'\n")
    return tmp_path


@pytest.mark.process_only("an environment is put on a process")
def test_every_worker_has_the_sessions_variables(session):
    assert ray.get(variable.remote("PARK_TEST_JOB")) == ["job"]
    assert "PARK_TEST_JOB" not in os.environ


@pytest.mark.process_only("an environment is put on a process")
def test_a_task_has_its_own_variables_and_leaves_none_behind(session):
    own = variable.options(
        runtime_env={"env_vars": {"PARK_TEST_BOTH": "task", "PARK_TEST_MORE": "${PARK_TEST_JOB}/more"}}
    )
    names = ("PARK_TEST_JOB", "PARK_TEST_BOTH", "PARK_TEST_MORE")
    for _ in range(5):
        assert ray.get(own.remote(*names)) == ["job", "task", "job/more"]
        assert ray.get(variable.remote(*names)) == ["job", "job", None]


@pytest.mark.process_only("an environment is put on a process")
def test_an_actor_has_its_own_for_life_and_its_children_have_them_too(session):
    actor = Actor.options(runtime_env={"env_vars": {"PARK_TEST_ACTOR": "mine", "PARK_TEST_BOTH": "actor"}}).remote()
    values, at_start = ray.get(actor.variable.remote("PARK_TEST_JOB", "PARK_TEST_BOTH", "PARK_TEST_ACTOR"))
    assert (values, at_start) == (["job", "actor", "mine"], "mine")
    assert ray.get(actor.child.remote("PARK_TEST_ACTOR", "PARK_TEST_JOB")) == ["mine", "job"]
    assert ray.get(actor.env.remote())["env_vars"]["PARK_TEST_ACTOR"] == "mine"
    other = Actor.remote()
    assert ray.get(other.variable.remote("PARK_TEST_ACTOR")) == ([None], None)


@pytest.mark.process_only("an environment is put on a process")
def test_a_working_folder_and_modules(session, module_folder):
    @ray.remote
    def look():
        import local_module
        import package

        return open("data.txt").read(), local_module.VALUE, package.VALUE, os.getcwd()

    env = {"working_dir": str(module_folder), "py_modules": [str(module_folder / "package")], "excludes": ["*.log"]}
    data, local, package, folder = ray.get(look.options(runtime_env=env).remote())
    assert (data, local, package) == ("data", "local", "package") and os.path.samefile(folder, module_folder)

    @ray.remote
    def forgotten():
        return "local_module" in sys.modules, any("test_a_working_folder" in entry for entry in sys.path), os.getcwd()

    assert ray.get([forgotten.remote() for _ in range(4)]) == [(False, False, os.getcwd())] * 4


@pytest.mark.process_only("an environment is put on a process")
def test_the_class_of_environments(session):
    env = ray.runtime_env.RuntimeEnv(env_vars={"PARK_TEST_MORE": "x"}, working_dir=None)
    assert env.to_dict() == {"env_vars": {"PARK_TEST_MORE": "x"}}
    assert ray.get(variable.options(runtime_env=env).remote("PARK_TEST_MORE")) == ["x"]
    assert ray.get(variable.options(runtime_env={"py_executable": sys.executable}).remote("PARK_TEST_JOB")) == ["job"]


@pytest.mark.process_only("an environment is put on a process")
def test_a_session_in_a_folder_with_a_hook(fresh, module_folder):
    def hook():
        os.environ["PARK_TEST_HOOK"] = os.path.basename(os.getcwd())

    fresh(num_cpus=1, runtime_env={"working_dir": str(module_folder), "worker_process_setup_hook": hook})

    @ray.remote
    def look():
        import local_module

        return local_module.VALUE, os.environ["PARK_TEST_HOOK"]

    assert ray.get(look.remote()) == ("local", module_folder.name)
    assert os.getcwd() != str(module_folder)


@pytest.mark.process_only("an environment is put on a process")
def test_a_hook_by_name(fresh, tmp_path):
    (tmp_path / "hooks_of_test.py").write_text("import os\ndef start():\n    os.environ['PARK_TEST_HOOK'] = 'named'\n")
    env = {"py_modules": [str(tmp_path / "hooks_of_test.py")], "worker_process_setup_hook": "hooks_of_test.start"}
    fresh(num_cpus=1, runtime_env=env)
    assert ray.get(variable.remote("PARK_TEST_HOOK")) == ["named"]


@pytest.mark.parametrize(
    ("env", "error", "text"),
    [
        ({"pip": ["numpy"]}, ray.exceptions.RuntimeEnvSetupError, "install the packages"),
        ({"conda": "env"}, ray.exceptions.RuntimeEnvSetupError, "install the packages"),
        ({"image_uri": "x"}, ray.exceptions.RuntimeEnvSetupError, "inside of the container"),
        ({"py_executable": 5}, TypeError, "path or a command line"),
        ({"config": 5}, TypeError, "must be a dictionary"),
        ({"nonsense": 1}, ray.exceptions.RuntimeEnvSetupError, "no field 'nonsense'"),
        ({"working_dir": "s3://bucket/x.zip"}, ray.exceptions.RuntimeEnvSetupError, "fetches nothing"),
        ({"working_dir": "/no/such/folder"}, ValueError, "no such file"),
        ({"working_dir": 5}, TypeError, "must be a string"),
        ({"env_vars": {"A": 1}}, TypeError, "env_vars"),
        ({"env_vars": ["A"]}, TypeError, "env_vars"),
        ({"py_modules": "package"}, TypeError, "must be a list"),
        ({"excludes": "x"}, TypeError, "excludes"),
        ({"worker_process_setup_hook": 5}, TypeError, "setup_hook"),
    ],
)
def test_what_is_wrong_is_said_at_once(fresh, env, error, text):
    with pytest.raises(error, match=text):
        variable.options(runtime_env=env)
    with pytest.raises(error, match=text):
        ray.remote(runtime_env=env)(type("Anything", (), {}))
    with pytest.raises(error, match=text):
        fresh(num_cpus=1, runtime_env=env)
    assert not ray.is_initialized()


@pytest.mark.process_only("an environment is put on a process")
def test_what_is_excluded_is_not_there(fresh, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    fresh(num_cpus=1)
    folder = tmp_path / "project"
    for name in ("kept.txt", "big.bin", "logs/a.log", "logs/important.log", "package/__init__.py", "whole/kept.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("VALUE = 7")

    @ray.remote
    def look():
        import package

        return sorted(
            os.path.join(at, name)[2:] for at, _, names in os.walk(".", followlinks=True) for name in names
        ), package.VALUE

    env = {"working_dir": str(folder), "excludes": ["*.bin", "logs/*", "!logs/important.log", "__pycache__/"]}
    kept = ["kept.txt", "logs/important.log", "package/__init__.py", "whole/kept.txt"]
    assert ray.get(look.options(runtime_env=env).remote()) == (kept, 7)
    env["excludes"].append("whole/")
    assert ray.get(look.options(runtime_env=env).remote()) == (kept[:3], 7)

    @ray.remote
    def imports():
        import package

        return os.listdir(os.path.dirname(package.__file__))

    (folder / "package" / "data.bin").write_text("")
    env = {"py_modules": [str(folder / "package")], "excludes": ["*.bin", "__pycache__/"]}
    assert ray.get(imports.options(runtime_env=env).remote()) == ["__init__.py"]
    with pytest.raises(TypeError, match="must be a string"):
        look.options(runtime_env={"working_dir": str(folder), "excludes": [3]}).remote()
    ray.shutdown()
    assert list(temporary.iterdir()) == [] and (folder / "logs" / "a.log").exists()


@pytest.mark.process_only("an environment is put on a process")
@pytest.mark.parametrize("gitignore", [True, False])
def test_what_ignore_files_name_is_not_there(fresh, tmp_path, monkeypatch, gitignore):
    if not gitignore:
        monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    folder = tmp_path / "project"
    for name in (
        "kept.txt",
        "by-git.log",
        "by-ray.bin",
        "sub/kept.log",
        "sub/by-git.txt",
        "sub/deep/by-git.txt",
        "data/x",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / ".gitignore").write_text("# logs\n/*.log\n__pycache__/\n")
    (folder / ".rayignore").write_text("*.bin\ndata/\n")
    # About this folder and what is below it.
    (folder / "sub" / ".gitignore").write_text("by-git.txt\n!kept.log\n")
    fresh(num_cpus=1, runtime_env={"working_dir": str(folder)})

    @ray.remote
    def look():
        found = (os.path.join(at, name)[2:] for at, _, names in os.walk(".", followlinks=True) for name in names)
        return sorted(name for name in found if not name.endswith("ignore"))

    @ray.remote
    def outer():
        return ray.get(look.remote())

    kept = ["kept.txt", "sub/kept.log"]
    by_git = ["by-git.log", "sub/by-git.txt", "sub/deep/by-git.txt"]
    expected = kept if gitignore else sorted(kept + by_git)
    assert ray.get(look.remote()) == expected and ray.get(outer.remote()) == expected


@pytest.mark.process_only("an environment is put on a process")
def test_an_archive_as_the_working_folder(fresh, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    archive = tmp_path / "project.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archived_module.py", "VALUE = 'archived'\n")
        file.writestr("folder/data.txt", "data")
        program = zipfile.ZipInfo("program")
        program.external_attr = 0o755 << 16
        file.writestr(program, "#!/bin/sh\necho ran\n")
    fresh(num_cpus=1, runtime_env={"working_dir": str(archive)})
    # The session has its own copy.
    archive.unlink()

    @ray.remote
    def look():
        import archived_module

        ran = subprocess.run(["./program"], capture_output=True, text=True).stdout
        return archived_module.VALUE, open("folder/data.txt").read(), ran

    @ray.remote
    def outer():
        return ray.get(look.remote())

    expected = ("archived", "data", "ran\n")
    assert ray.get(look.remote()) == expected and ray.get(outer.remote()) == expected
    archive.write_bytes(b"no archive")
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="cannot be unpacked"):
        look.options(runtime_env={"working_dir": str(archive)}).remote()
    ray.shutdown()
    assert list(temporary.iterdir()) == []
