from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from facemake import nn  # noqa: E402


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(nn.UnifiedLandmarkPoseNet, 3_772_848), (nn.AUPredictionNet, 7_388_669)],
)
def test_the_networks_are_as_large_as_pyfaceaus(network, parameters):
    """So that its checkpoints load: as many numbers, by the same names."""
    made = network()
    assert sum(p.numel() for p in made.parameters()) == parameters
    names = made.state_dict().keys()
    backbone = {
        "backbone.blocks.16.conv.7.weight",
        "backbone.blocks.16.conv.6.weight",
        "backbone.blocks.15.conv.6.fc1.bias",
    }
    heads = {
        "landmark_head.fc.5.weight",
        "global_params_head.fc.3.bias",
        "local_params_head.fc.0.weight",
        "au_head.fc.6.bias",
    }
    assert backbone & names and heads & names


def test_what_the_landmark_network_gives():
    network = nn.UnifiedLandmarkPoseNet(width_mult=0.5).eval()
    with torch.no_grad():
        found = network(torch.rand(3, 3, 112, 112))
    assert {name: tuple(t.shape) for name, t in found.items()} == {
        "landmarks": (3, 68, 2),
        "global_params": (3, 6),
        "local_params": (3, 34),
    }
    assert (found["landmarks"] > 0).all() and (found["landmarks"] < 112).all()
    assert (found["global_params"][:, 0] > 0).all()
    assert (found["global_params"][:, 1:4].abs() < 1.5708).all()


def test_intensities_are_within_their_range_but_in_training():
    network = nn.AUPredictionNet(width_mult=0.25)
    last = network.au_head.fc[6]
    last.bias.data = torch.linspace(-9, 9, nn.NUM_AUS)
    x = torch.rand(4, 3, 112, 112)
    with torch.no_grad():
        trained, used = network.train()(x), network.eval()(x)
    assert used.shape == (4, 17) and used.min() == 0 and used.max() == 5
    assert trained.min() < 0 and trained.max() > 5


def test_a_width_without_channels_is_refused():
    with pytest.raises(ValueError, match=r"width_mult is 0\.01"):
        nn.UnifiedLandmarkPoseNet(width_mult=0.01)


def test_action_units_are_those_of_the_training_set_and_each_has_its_words():
    assert nn.NUM_AUS == 17 and list(nn.AU_DESCRIPTIONS) == nn.AU_NAMES
    assert nn.AU_NAMES[0] == "AU01_r" and nn.AU_DESCRIPTIONS["AU45_r"] == "Blink"


def test_without_pytorch_it_is_said_what_installs_it(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from facemake.errors import ModelError\n"
        "from facemake.nn import AU_NAMES, train_landmark_pose\n"
        "try:\n    from facemake.nn import UnifiedLandmarkPoseNet\n"
        "except ModelError as error:\n    print(error)\n"
        "sys.exit(train_landmark_pose.main(['--data', 'x.h5']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "requirements/torch.txt" in done.stdout and "requirements/torch.txt" in done.stderr
    assert "Traceback" not in done.stderr
