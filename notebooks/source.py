# The one source of the notebooks and the script in this folder: Scripts/make_notebooks.py writes them from it.
#
#   # %% [markdown]      a cell of text; in the script its lines are comments
#   # %%                 a cell of code
#   {kaggle} {colab}     behind either: the cell is in that notebook alone; the script has Kaggle's cells
#   {notebook}           the cell is in the notebooks, not in the script
#   tags=NAME            a tag of the cell

# %% [markdown] {kaggle}
# # QLoRA fine-tuning on Kaggle's free GPU
#
# Fine-tunes a language model on your records inside one free session, and ends with a merged and tested model. All of the work is done by
# one binary, `lorikeet`; this notebook installs it, shows what it does, and says what to take away.
#
# 1. In the notebook's settings choose the accelerator **GPU T4 x2** (one card is used; a P100 is too old).
# 2. Attach a dataset with the wheel `lorikeet_qlora-*.whl`, or set `WHEEL` to a URL and switch the internet on.
# 3. Set `MODEL`, `DATA` and `OUTPUT` in the next cell. A gated model needs a Kaggle secret named `HF_TOKEN`.
# 4. Run all cells, or **Save Version → Save & Run All**, which goes on without you.
#
# A run that is longer than a session: set `SESSIONS`. When a session ends, save the version, add its output as an input of the notebook and
# run again: `RESUME_FROM = "auto"` finds it, and the result has the same bits as an undisturbed run's.

# %% [markdown] {colab}
# # QLoRA fine-tuning on Colab
#
# Fine-tunes a language model on your records, and ends with a merged and tested model. All of the work is done by one binary, `lorikeet`; this
# notebook installs it, shows what it does, and says what to take away.
#
# 1. Choose **Runtime → Change runtime type → T4 GPU**.
# 2. Set `WHEEL` to a URL of `lorikeet_qlora-*.whl`, or to a folder on the mounted drive that holds it.
# 3. Set `MODEL`, `DATA` and `OUTPUT` in the next cell. A gated model needs a secret named `HF_TOKEN` (the key symbol at the left).
# 4. Run all cells.
#
# Colab saves no versions: with `MOUNT_DRIVE = True` and an `OUTPUT` on the drive, running the notebook again goes on where a session ended.

# %% [markdown]
# ## Settings

# %% {kaggle} tags=parameters
# A model: a name on the Hugging Face hub, an attached folder of safetensors, or a .gguf file.
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Records: an attached file or folder (JSONL, JSON, CSV, TSV; .gz and .zst), or hf://datasets/ORG/NAME.
DATA = "/kaggle/input/my-data"
# What comes out; only /kaggle/working is kept.
OUTPUT = "/kaggle/working/out"
# Held-out records: a share of DATA where it has no validation file; None where it has one.
VALIDATION_SHARE = 0.05
# "kaggle-free" (100,000 records, r 8, 2 epochs, 512 tokens) or "full" (all records, r 16, 3 epochs, 1,024 tokens).
PRESET = "kaggle-free"
# Time of a session (Kaggle ends one with a GPU after 12 h), and how many the run may take.
SESSION = "9h"
SESSIONS = 1
# An earlier output to go on from: a folder, "auto" (looks through the attached inputs), or None.
RESUME_FROM = "auto"
# The wheel: "auto" (looks through the attached inputs), a folder, or a URL.
WHEEL = "auto"
# "auto" takes the first card; "cpu" is for trying things out.
DEVICE = "auto"
# Any other key of docs/keys.md, as {"learning_rate": 2e-4, "lora_r": 16}.
KEYS = {}

# %% {colab} tags=parameters
# A model: a name on the Hugging Face hub, a folder of safetensors, or a .gguf file.
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Records: a file or folder (JSONL, JSON, CSV, TSV; .gz and .zst), or hf://datasets/ORG/NAME.
DATA = "/content/drive/MyDrive/my-data"
# What comes out. The drive is kept when the session ends; /content is not.
OUTPUT = "/content/drive/MyDrive/lorikeet-out"
# Whether to mount Google Drive, which asks for permission.
MOUNT_DRIVE = True
# Held-out records: a share of DATA where it has no validation file; None where it has one.
VALIDATION_SHARE = 0.05
# "kaggle-free" (100,000 records, r 8, 2 epochs, 512 tokens) or "full" (all records, r 16, 3 epochs, 1,024 tokens).
PRESET = "kaggle-free"
# Time of a session (Colab ends free ones when it likes), and how many the run may take.
SESSION = "9h"
SESSIONS = 1
# An earlier output in another folder to go on from, or None: the run goes on from OUTPUT by itself.
RESUME_FROM = None
# The wheel: a URL, or a folder that holds it.
WHEEL = "/content/drive/MyDrive/lorikeet-wheel"
# "auto" takes the first card; "cpu" is for trying things out.
DEVICE = "auto"
# Any other key of docs/keys.md, as {"learning_rate": 2e-4, "lora_r": 16}.
KEYS = {}

# %% [markdown]
# ## Step 1: environment
# Installs the wheel (no other Python package is needed), reads the hub's token from the notebook's secrets, and shows the machine.

# %% {colab}
if MOUNT_DRIVE:
    from google.colab import drive

    drive.mount("/content/drive")

# %%
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys


def install_wheel(wheel):
    """Installs lorikeet_qlora from a URL or a folder, where it is not installed yet."""
    if importlib.util.find_spec("lorikeet_qlora"):
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if wheel.startswith(("http://", "https://")):
        command.append(wheel)
    else:
        folders = ["/kaggle/input"] if wheel == "auto" else [wheel]
        levels = ["/*" * depth for depth in range(6)]
        found = sorted(path for folder in folders for level in levels for path in glob.glob(folder + level + "/lorikeet_qlora-*.whl"))
        if not found:
            raise RuntimeError(
                "no lorikeet_qlora-*.whl in %s: attach a dataset with the wheel, or set WHEEL to its folder or URL" % folders[0])
        command += ["--no-index", "--find-links", os.path.dirname(found[-1]), "lorikeet_qlora"]
    subprocess.run(command, check=True)
    importlib.invalidate_caches()


install_wheel(WHEEL)
import lorikeet_qlora

# %% {kaggle}
def hub_token():
    """The secret HF_TOKEN of this notebook, for gated models; None where there is none."""
    try:
        from kaggle_secrets import UserSecretsClient
    except ImportError:
        return None
    try:
        return UserSecretsClient().get_secret("HF_TOKEN")
    except Exception:  # what it raises for a missing secret has no public name
        print("no Kaggle secret HF_TOKEN: public models alone")
        return None

# %% {colab}
def hub_token():
    """The secret HF_TOKEN of this notebook, for gated models; None where there is none."""
    try:
        from google.colab import userdata
    except ImportError:
        return None
    try:
        return userdata.get("HF_TOKEN")
    except Exception:  # SecretNotFoundError, or no permission
        print("no Colab secret HF_TOKEN: public models alone")
        return None

# %%
if "HF_TOKEN" not in os.environ:
    token = hub_token()
    if token:
        os.environ["HF_TOKEN"] = token


def lorikeet(verb, *flags, show=True, **keys):
    """Runs a verb of the binary and shows what it prints, or returns it; raises its own sentence where it fails."""
    done = subprocess.run(lorikeet_qlora.command(verb, *flags, **keys), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if show:
        print(done.stderr + done.stdout, end="")
    if done.returncode:
        raise RuntimeError(done.stderr.strip().split("\n")[-1])
    return None if show else done.stdout


lorikeet("doctor", device=DEVICE)
recipe = dict(model=MODEL, data=DATA, validation_share=VALIDATION_SHARE, preset=PRESET, output=OUTPUT, device=DEVICE)
for key in KEYS:
    if key.replace("-", "_") in {*recipe, "session", "sessions", "resume_from"}:
        raise RuntimeError("KEYS has '%s', which is a setting of its own: set %s instead" % (key, key.replace("-", "_").upper()))
recipe.update(KEYS)

# %% [markdown]
# ## Steps 2 to 4: data, formatting, checks
# What would be trained, token by token: what is learnt stands in brackets. A template that never trains its end token, a doubled beginning or
# an answer that is cut off ends here, with what to do about it.

# %%
lorikeet("check", **recipe)

# %% [markdown]
# ## Step 5: planning
# Memory, disk and time, from the very program that will run. Where it does not fit, nothing is started, and the sentence says what would.

# %%
try:
    lorikeet("plan", session=SESSION, sessions=SESSIONS, resume_from=RESUME_FROM, **recipe)
except RuntimeError as problem:
    # The next step checks the same, and decides.
    print("plan:", problem)

# %% [markdown]
# ## Steps 6 to 9: model loading, training, merging, testing
# Checkpoints are written on the way: after an interruption, running this cell again goes on from the last one.

# %%
summary = lorikeet_qlora.run(session=SESSION, sessions=SESSIONS, resume_from=RESUME_FROM, **recipe)

# %% [markdown]
# ## Step 10: report

# %% {kaggle}
NEXT = """
What to do next:
1. Save Version (of a session at which you sit: Quick Save, with the output of the session saved).
2. In the notebook: Add Input → Notebook Output Files → that version.
3. Run again: RESUME_FROM = "auto" finds it and goes on at step %s."""

# %% {colab}
NEXT = """
What to do next: run this notebook again in a new session, with the same OUTPUT on the drive. It goes on at step %s."""

# %%
def size(folder):
    """Bytes of the files below a folder."""
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)


if summary["exit_status"] == 75:
    print("This session is over, and everything is saved: the run is well, and not finished yet.")
    print(NEXT % summary.get("steps", 0))
else:
    def shown(form, name):
        return form.format(summary[name]) if summary.get(name) is not None else "-"

    for title, form, name in (("validation loss", "{:.4g}", "validation_loss"), ("right answers", "{:.0%}", "answers_right")):
        print("%-24s%s -> %s" % (title, shown(form, name + "_before"), shown(form, name + "_after")))
    for proof in ("merged_matches_adapter", "transfer", "sidecar"):
        result = (summary.get(proof) or {}).get("pass")
        print("%-24s%s" % (proof, {True: "pass", False: "FAIL"}.get(result, "not tested")))
    print("\nTo take away:")
    for name in ("merged", "adapter", "gguf", "report.html", "run.yaml"):
        path = os.path.join(OUTPUT, name)
        if os.path.exists(path):
            print("  %-12s %8.1f MB  %s" % (name, (size(path) if os.path.isdir(path) else os.path.getsize(path)) / 1e6, path))

# %% [markdown]
# One line to paste into a report of this run: the card, its speed and memory beside what was predicted, versions, and the sizes of the recipe.
# It names neither files nor people.

# %%
def report_line():
    """The run in one line of JSON."""
    def written(name):
        try:
            with open(os.path.join(OUTPUT, name), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def value(text):
        # A number, or a text in quotes; what is neither is a text as it stands.
        try:
            return json.loads(text)
        except ValueError:
            return text

    plan = json.loads(written("plan.json") or "{}")
    machine = json.loads(lorikeet("doctor", "--json", show=False, device=DEVICE))
    resolved = {key: value(text) for key, text in re.findall(r"^ *(\w+): (.*)$", written("run.yaml"), re.MULTILINE)}
    choices = plan.get("choices", {})
    tokens_per_second = summary.get("tokens_per_second") or 0
    tokens_per_step = plan.get("train_tokens", 0) / max(1, plan.get("steps", 0))
    # A hub's name says which model it is; the path of a file says more than it should.
    model = MODEL if re.fullmatch(r"[\w.-]+/[\w.-]+", MODEL) else os.path.basename(MODEL.rstrip("/"))
    sizes = ("preset", "max_length", "r", "target_modules", "per_device_train_batch_size", "gradient_accumulation_steps", "base_storage", "session", "sessions")
    return json.dumps({
        "lorikeet": lorikeet("--version", show=False).strip(), "service": os.environ.get("KAGGLE_KERNEL_RUN_TYPE", "other"),
        "card": machine.get("gpu"), "driver": machine.get("gpu_driver"), "compute_capability": machine.get("gpu_architecture"),
        "libraries": [os.path.basename(path) for path in machine.get("gpu_libraries") or []],
        "processor": machine.get("cpu"), "threads": machine.get("threads"), "ram_total_bytes": machine.get("ram_total_bytes"),
        "compute_type": choices.get("compute_type"), "model": model, "recipe": {key: resolved.get(key) for key in sizes},
        "trained_parameters": plan.get("trainable_parameters"), "steps": summary.get("steps"), "planned_steps": plan.get("steps"),
        "tokens_per_step": round(tokens_per_step, 1), "tokens_per_second": round(tokens_per_second, 1),
        "seconds_per_step": round(tokens_per_step / tokens_per_second, 4) if tokens_per_second else None,
        "seconds": summary.get("seconds"), "predicted_seconds": plan.get("predicted_seconds"), "phases": summary.get("phases"),
        "gpu_bytes": summary.get("peak_gpu_bytes"), "predicted_gpu_bytes": plan.get("predicted_gpu_bytes"),
        "ram_bytes": summary.get("peak_rss_bytes"), "predicted_ram_bytes": plan.get("predicted_rss_bytes"),
        "loss": [summary.get("validation_loss_before"), summary.get("validation_loss_after")],
        "proofs": {name: (summary.get(name) or {}).get("pass") for name in ("merged_matches_adapter", "transfer", "sidecar")},
        "exit_status": summary["exit_status"],
    })


print(report_line())
