"""The environment: complete, light, and the same in the lock, the package and the conda files."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from conftest import ROOT

SITE = Path(sysconfig.get_path("platlib"))
# conda-forge's name -> PyPI's
CONDA_NAMES = {"matplotlib-base": "matplotlib", "python-flatbuffers": "flatbuffers"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str = "default") -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return {canonical(n): v for n, v in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}


def not_needed() -> set[str]:
    lines = (ROOT / "requirements" / "not-needed.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_what_is_installed_is_what_is_locked():
    for name, version in locked().items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            assert name in ("pyreadline3", "colorama"), f"{name} is locked but not installed"
            continue
        assert installed == version, name


def test_just_the_packages_that_mediapipe_declares_and_never_imports_are_missing():
    missing = set()
    for distribution in importlib.metadata.distributions():
        for requirement in distribution.requires or ():
            if "extra ==" in requirement or "platform_machine" in requirement:
                continue
            others = ("python_version", "sys_platform", "platform_system", "implementation_name")
            if any(word in requirement for word in others):
                continue
            name = re.match(r"[\w.-]+", requirement).group()
            try:
                importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                missing.add(canonical(name))
    # facenet-pytorch declares torchvision, of which two functions are given in its place
    assert missing == not_needed() | {"torchvision"}


def test_there_is_one_opencv_and_it_is_headless():
    names = {
        d.metadata["Name"]
        for d in importlib.metadata.distributions()
        if "opencv" in d.metadata["Name"].lower()
    }
    assert names == {"opencv-contrib-python-headless"}


def test_heavy_stacks_are_not_in_the_default_lock():
    assert not {"torch", "tensorflow", "jax", "onnxruntime", "scipy"} & locked().keys()


def test_the_package_pins_what_the_lock_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, version = requirement.split("==")
        assert locked()[canonical(name)] == version


def test_the_extra_of_training_pins_what_the_lock_and_the_file_of_torch_pin():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    pins = dict(requirement.split("==") for requirement in extras["train"])
    assert pins == {
        "onnxruntime": locked("dev")["onnxruntime"],
        "torch": locked("torch")["torch"],
    }


def test_extras_and_the_locks_of_the_services_pin_what_the_lock_pins():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    known = locked("dev") | locked()
    served = locked("serve")
    assert served.items() <= known.items()
    for requirement in extras["serve"] + extras["grpc"]:
        name, version = requirement.split("==")
        assert served[canonical(name)] == version
    # Rockchip's own package has wheels for AArch64 alone
    assert locked("serve-rknn").keys() - known.keys() <= {"rknn-toolkit-lite2", "ruamel-yaml"}
    assert all(known.get(n, v) == v for n, v in locked("serve-rknn").items())


def test_the_documentation_is_built_beside_what_is_locked():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    known, needed = locked("dev") | locked(), locked("docs")
    for requirement in extras["docs"]:
        name, version = re.sub(r"\[.*\]", "", requirement).split("==")
        assert needed[canonical(name)] == version
    assert all(known.get(name, version) == version for name, version in needed.items())


def image_locks(stack: str) -> dict[str, str]:
    """What is in the image of a stack: of several locks, without the name of a build."""
    sys.path.insert(0, str(ROOT / "containers"))
    import build_images

    found: dict[str, str] = {}
    for name in build_images.locks(stack)[2:]:
        for package, version in locked(name).items():
            public = version.partition("+")[0]
            assert found.setdefault(package, public) == public, (stack, package)
    return found


def test_the_documentation_lists_every_extra_and_what_make_installs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    page = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("|")]
    named, made = ({n for r in rows for n in re.findall(r"`([^`]+)`", r[i])} for i in (0, 1))
    assert named == extras.keys() - {"dev"}
    targets = re.findall(r"^(\w+): \.venv/\1  ##", (ROOT / "Makefile").read_text(), re.M)
    assert made == {f"make {name}" for name in targets}


def pinned_anywhere() -> dict[str, str]:
    """What is pinned anywhere: an extra is in the development lock, torch stands by its name."""
    apart = locked("stacks/cuda") | locked("stacks/facenet") | locked("torch")
    return apart | locked("dev") | locked()


ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def conda_pins(path: Path) -> dict[str, str]:
    """Name on PyPI -> version, of a conda file and of what is installed after it."""
    document = yaml.safe_load(path.read_text())
    pinned = {}
    for entry in document["dependencies"]:
        if isinstance(entry, dict):
            # conda gives pip these lines as a file, which takes no option but those of sources
            assert not [e for e in entry["pip"] if e.startswith("-")], path
            pinned.update(re.sub(r"\[.*\]", "", e).split("==") for e in entry["pip"])
        elif entry != "pip":
            name, version = entry.split("=")
            pinned[CONDA_NAMES.get(name, name)] = version
    later = path.with_suffix(".post-deploy.sh")
    if later.is_file():
        assert "pip install --no-deps" in later.read_text()
        pinned.update(re.findall(r"^ +([\w-]+)==([\w.]+)", later.read_text(), re.MULTILINE))
    return pinned


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda p: p.stem)
def test_conda_environments_pin_what_the_lock_pins(path: Path):
    pinned = conda_pins(path)
    assert pinned.pop("python") == "3.11"
    assert pinned
    # what is an extra of the package is in the development lock
    known = pinned_anywhere()
    for name, version in pinned.items():
        assert known[canonical(name)] == version, name


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda p: p.stem)
def test_images_have_what_conda_environments_have(path: Path):
    """A stack's lock, which its image is made of, is the same packages at the same versions."""
    image = image_locks(path.stem)
    pinned = {canonical(name): version for name, version in conda_pins(path).items()}
    del pinned["python"]
    assert pinned.items() <= image.items()
    text = (ROOT / "requirements" / "stacks" / f"{path.stem}.in").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    named = {canonical(re.match(r"[\w.-]+", line).group()) for line in lines}
    assert named <= pinned.keys()
    # what conda itself adds is what these declare, and no more of ours
    known = pinned_anywhere()
    assert image.items() <= known.items()


@pytest.mark.parametrize("stack", ["facenet", "train"])
def test_with_another_build_of_pytorch_an_image_is_the_same(stack: str):
    """But for CUDA: so a stack's results hang on which of the two it is by the image alone."""
    cpu, gpu = image_locks(stack), image_locks(f"{stack}-gpu")
    assert cpu.items() <= gpu.items() and cpu["torch"] == locked("torch")["torch"]
    cuda = {name for name in gpu if name.startswith(("cuda-", "nvidia-"))} | {"triton"}
    assert gpu.keys() - cpu.keys() == cuda
    assert locked("stacks/torch-cpu") == {"torch": f"{cpu['torch']}+cpu"}
    declared = (ROOT / "requirements" / "not-needed-torch.txt").read_text().split()
    assert cuda & set(declared) and "torchvision" in declared


def test_what_pytorch_needs_is_installed_by_its_hash():
    """Of any build; what a build with CUDA needs besides is of that build."""
    needs = locked("torch-needs")
    lines = [Requirement(line) for line in importlib.metadata.requires("torch") or ()]
    of_cuda = (ROOT / "requirements" / "not-needed-torch.txt").read_text().split()
    named = {
        canonical(need.name)
        for need in lines
        if need.marker is None or need.marker.evaluate({"extra": ""})
    }
    assert named and named - set(of_cuda) <= needs.keys()
    for stack in ("facenet", "train"):
        assert needs.items() <= image_locks(stack).items()
    assert "-r requirements/torch-needs.txt" in (ROOT / "Makefile").read_text()


def test_the_stack_of_the_gpu_fits_the_lock():
    cuda = locked("stacks/cuda")
    assert "onnxruntime-gpu" in cuda and "nvidia-cudnn-cu13" in cuda
    for name in cuda.keys() & locked().keys():
        assert cuda[name] == locked()[name], name
    assert not cuda.keys() & not_needed()


def test_every_stage_has_its_environment_and_container():
    for path in (ROOT / "rules").glob("*.smk"):
        rules = re.split(r"^ *rule ", path.read_text(), flags=re.MULTILINE)[1:]
        for text in rules:
            if "script:" in text and path.stem != "bundled_sample":
                assert "conda:" in text and "container:" in text, text.split(":")[0]
                for directive in ("log:", "message:", "resources:", "threads:"):
                    assert directive in text, (text.split(":")[0], directive)
                own = text.partition("\ndef ")[0]
                stages = re.findall(r"\b(?:conda_file|container(?:_identity)?)\(\"(\w+)\"\)", own)
                assert len(stages) >= 2 and len(set(stages)) == 1, text.split(":")[0]


def test_every_stack_of_a_stage_or_backend_is_whole():
    """Environment, lock, image, key of the config, and the libraries that results hang on."""
    from facemake import recipes
    from facemake.backends.aus import AU_ESTIMATORS
    from facemake.backends.detect import DETECTORS
    from facemake.backends.embed import EMBEDDERS
    from facemake.backends.eyes import EYE_FINDERS
    from facemake.backends.landmarks import LANDMARKERS
    from facemake.engines.native import NATIVE

    sys.path.insert(0, str(ROOT / "containers"))
    import build_images

    named = {row.stack for row in NATIVE.values()} | {"threedi"}
    for rows in (DETECTORS, LANDMARKERS, AU_ESTIMATORS, EMBEDDERS, EYE_FINDERS):
        for row in rows.values():
            named |= {row.stack, row.gpu_stack, *(row.onnx_stacks or ())}
    named -= {""}
    schema = yaml.safe_load((ROOT / "config" / "config.schema.yaml").read_text())
    assert named == {path.stem for path in ENVIRONMENTS} == set(build_images.STACKS)
    assert named == set(schema["properties"]["containers"]["properties"])
    assert named == set(recipes.LIBRARIES)
    for stack in named:
        image = image_locks(stack)
        for name in recipes.LIBRARIES[stack]:
            assert canonical(name) in image, (stack, name)


def test_every_script_with_a_recipe_holds_its_environment_against_it():
    for path in (ROOT / "scripts").glob("*.py"):
        text = path.read_text()
        assert ("snakemake.params.recipe" in text) == ("recipe=snakemake.params.recipe" in text), (
            path
        )


def test_each_conda_environment_has_what_its_stages_import():
    """Third-party modules that a stage's library code imports, against its stack's file."""
    from facemake import fingerprints, recipes, settings
    from facemake.engines import stages

    modules = {
        "cv2": "opencv-contrib-python-headless",
        "PIL": "pillow",
        "yaml": "pyyaml",
        "google": "protobuf",
        "lap": "lapx",
        "dlib": "dlib-bin",
        "markupsafe": "jinja2",
        "_dlib_pybind11": "dlib-bin",
    }
    rows = [
        (config, stage, row)
        for config in (settings.filled({"engine": e}) for e in ("native", "3di", "3dilite"))
        for stage, row in stages(config).items()
    ]
    for device in ("cpu", "cuda"):
        chosen = {stage: {"backend": name} for stage, name in
                  (("detect", "scrfd"), ("landmarks", "pfld68"), ("embed", "onnx"))}  # fmt: skip
        config = settings.filled({"device": device, **chosen})
        rows += [(config, stage, stages(config)[stage]) for stage in chosen]
    for config, stage, row in rows:
        chosen = row.backend(config)
        pending = [f"facemake.stages.{row.module or stage}", "facemake.runtime.job"]
        pending += [chosen[1].module] if chosen else []
        if row.module in ("threedi_step", "threedi_model"):
            # loaded by their names, for an image
            pending += [
                f"facemake.backends.threedi.runtimes.{n}" for n in ("singularity", "docker")
            ]
            pending += ["facemake.backends.threedi.runtimes.singularity_child"]
        seen: set[str] = set()
        imported: set[str] = set()
        while pending:
            module = pending.pop()
            if module not in seen:
                seen.add(module)
                pending.extend(fingerprints.imports(module))
                for node in ast.walk(ast.parse(fingerprints._source(module).read_bytes())):
                    if isinstance(node, ast.Import):
                        imported |= {alias.name.split(".")[0] for alias in node.names}
                    elif isinstance(node, ast.ImportFrom) and node.module:
                        imported.add(node.module.split(".")[0])
        # a training says in words that it writes no CoreML where coremltools is not there
        apart = {"facemake", "__future__", "coremltools"}
        if config["device"] == "cpu":
            apart.add("onnx")  # makes networks take several pictures, which they do on a GPU alone
        else:
            modules["onnxruntime"] = "onnxruntime-gpu"
        third_party = imported - set(sys.stdlib_module_names) - apart
        pins = conda_pins(ROOT / "envs" / f"{recipes.stack(stage, config)}.yaml")
        have = {canonical(name) for name in pins}
        for name in third_party:
            assert canonical(modules.get(name, name)) in have, f"{stage} imports {name}"


def test_a_recipe_knows_the_versions_of_environments_that_it_does_not_run_in(
    monkeypatch: pytest.MonkeyPatch,
):
    from facemake import recipes

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(recipes, "version", missing)
    known = pinned_anywhere()
    for libraries in recipes.LIBRARIES.values():
        for name in libraries:
            assert recipes._version.__wrapped__(name) == known[canonical(name)]


@pytest.mark.skipif(sys.platform != "linux", reason="ldd is Linux's")
def test_no_library_is_missing_that_a_slim_machine_has_not():
    """Every compiled file finds its libraries in the wheels or in a bare Debian's libc and gcc."""
    base = re.compile(
        r"^(statically|linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|util|resolv|mvec|gcc_s|stdc\+\+|z)\.so)"
    )
    bad: dict[str, set[str]] = {}
    compiled = [path for path in SITE.rglob("*.so*") if path.is_file()]
    carried = {path.name for path in compiled}
    for path in compiled:
        output = subprocess.run(["ldd", str(path)], capture_output=True, text=True).stdout
        for line in output.splitlines():
            name = line.strip().split(" ")[0].rsplit("/", 1)[-1]
            if name not in carried and not base.match(name) and not name.startswith("libpython"):
                bad.setdefault(name, set()).add(path.name)
    assert bad == {}


@pytest.mark.parametrize(
    "module", ["facemake", "facemake.plan", "facemake.models", "facemake.report.looks"]
)
def test_what_every_job_of_a_cluster_imports_to_parse_the_snakefile_is_light(module: str):
    code = f"import sys, {module}; print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("numpy", "pandas", "mediapipe", "cv2", "pyarrow"):
        assert f"'{heavy}'" not in done.stdout


def test_the_readme_maps_every_top_level_entry():
    git = shutil.which("git")
    listed = git and subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if not listed or listed.returncode:
        pytest.skip("not a git checkout")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Map") : text.index("From here:")]
    for entry in {line.split("/")[0] for line in listed.stdout.splitlines()}:
        assert f"`{entry}" in table, entry


def test_no_lock_chooses_by_a_patch_version_of_python():
    """Wheels for an image are fetched by another Python 3.11 than Debian's 3.11.2."""
    chosen = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / "requirements").rglob("*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"python_full_version [<>=!]+ '3\.\d+\.[1-9]", line)
    ]
    assert not chosen
