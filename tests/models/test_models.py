"""The models: gradients, equality with torch's own cells, and padding that changes nothing."""

import pytest
import torch
from torch import nn

from kwspot.experiments.registry import load_registry
from kwspot.experiments.settings import BandSettings, ModelSettings, StemSettings
from kwspot.models.cells import RNN, FastRNN, MinGRU
from kwspot.models.cost import count_macs, count_parameters
from kwspot.models.factory import CELLS, build_model
from kwspot.models.recurrent import ConvStem, fill_up, reverse_clips, stack_frames

N_FRAMES, N_MELS, N_CLASSES = 23, 6, 4


def model_of(**settings):
    torch.manual_seed(0)
    return build_model(ModelSettings(hidden_size=8, **settings), N_MELS, N_CLASSES).eval()


VARIANTS = [
    {"cell": cell, "bidirectional": bidirectional, "pooling": pooling, "frame_stack": frame_stack}
    for cell in CELLS
    for bidirectional in (False, True)
    for pooling in ("last", "mean", "max", "attention")
    for frame_stack in (1, 4)
] + [
    {
        "stem": StemSettings(channels=[5, 7], kernel=3, stride=2, bands=bands),
        "frame_stack": frame_stack,
        "bidirectional": True,
    }
    for bands in (None, BandSettings(joined=6, kernel=4))
    for frame_stack in (1, 2)
]


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True])
def test_written_gradient_equals_numeric_one(normalise):
    torch.manual_seed(0)
    cell = RNN(3, 5, normalise=normalise).double()
    x = torch.randn(7, 4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: cell(x), (x, *cell.parameters()))


def test_gradient_of_fastrnn_equals_numeric_one():
    torch.manual_seed(0)
    cell = FastRNN(3, 5).double()
    with torch.no_grad():
        cell.alpha.fill_(0.5)  # away from the start, where the candidates hardly count
    x = torch.randn(7, 4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: cell(x), (x, *cell.parameters()))
    states, h = cell(x), torch.zeros(4, 5, dtype=torch.double)
    for x_t, state in zip(x, states, strict=True):
        h = cell.alpha.sigmoid() * torch.tanh(x_t @ cell.w.t() + h @ cell.u.t() + cell.b) + cell.beta.sigmoid() * h
        torch.testing.assert_close(state, h)


def test_mingru_is_its_equation_and_has_a_gradient():
    torch.manual_seed(0)
    cell = MinGRU(3, 5).double()
    x = torch.randn(7, 4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: cell(x), (x, *cell.parameters()))
    h = torch.zeros(4, 5, dtype=torch.double)
    for x_t, state in zip(x, cell(x), strict=True):
        z = cell.gate(x_t).sigmoid()
        h = (1 - z) * h + z * cell.candidate(x_t)
        torch.testing.assert_close(state, h)


def test_attention_weighs_real_steps_only_and_sums_to_one():
    model = model_of(cell="rnn", pooling="attention", attention_heads=3)
    states, lengths = torch.randn(9, 2, 8), torch.tensor([9, 4])
    pooled = model._pool(states, lengths).reshape(2, 3, 8)
    for clip, n in enumerate(lengths.tolist()):
        weights = model.attention(states[:n, clip]).softmax(0)
        torch.testing.assert_close(pooled[clip], weights.t() @ states[:n, clip])


@pytest.mark.parametrize("normalise", [False, True])
def test_written_gradient_equals_autograd(normalise):
    torch.manual_seed(1)
    cell = RNN(3, 5, normalise=normalise).double()
    x = torch.randn(40, 4, 3, dtype=torch.double)
    weights = torch.randn(40, 4, 5, dtype=torch.double)

    def by_autograd():
        h, states = torch.zeros(4, 5, dtype=torch.double), []
        for x_t in x:
            a = x_t @ cell.w.t() + h @ cell.u.t()
            a = nn.functional.layer_norm(a, [5], cell.g, cell.b) if normalise else a + cell.b
            h = torch.tanh(a)
            states.append(h)
        return torch.stack(states)

    expected = by_autograd()
    torch.testing.assert_close(cell(x), expected)
    (expected * weights).sum().backward()
    by_hand = [p.grad.clone() for p in cell.parameters()]
    cell.zero_grad()
    (cell(x) * weights).sum().backward()
    for p, grad in zip(cell.parameters(), by_hand, strict=True):
        torch.testing.assert_close(p.grad, grad)


def test_rnn_is_torchs_rnn():
    cell, theirs = RNN(3, 5), nn.RNN(3, 5)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(cell.w)
        theirs.weight_hh_l0.copy_(cell.u)
        theirs.bias_ih_l0.copy_(cell.b)
        theirs.bias_hh_l0.zero_()
    x = torch.randn(11, 2, 3)
    torch.testing.assert_close(cell(x), theirs(x)[0])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_bidirectional_encoder_is_torchs(cell):
    model = model_of(cell=cell, bidirectional=True)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](N_MELS, 8, 2, bidirectional=True)
    with torch.no_grad():
        for i in range(2):
            for side, suffix in ((model.encoder.forward_layers, ""), (model.encoder.backward_layers, "_reverse")):
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(theirs, f"{kind}_l{i}{suffix}").copy_(getattr(side[i].layer, f"{kind}_l0"))
    x = torch.randn(N_FRAMES, 3, N_MELS)
    torch.testing.assert_close(model.encoder(x, torch.full((3,), N_FRAMES)), theirs(x)[0])


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_padding_never_changes_a_prediction(variant):
    model = model_of(**variant)
    lengths = torch.tensor([N_FRAMES, 9, 3, 16])
    batch = torch.randn(4, N_FRAMES, N_MELS)
    together = model(batch, lengths)
    for i, length in enumerate(lengths):
        alone = model(batch[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)
    for i, length in enumerate(lengths):
        batch[i, length:] = 1e3
    torch.testing.assert_close(model(batch, lengths), together)


def test_every_frame_that_is_real_matters():
    model = model_of(cell="lstm")
    features, lengths = torch.randn(1, N_FRAMES, N_MELS), torch.tensor([N_FRAMES])
    before = model(features, lengths)
    features[0, -1] += 1
    assert not torch.allclose(model(features, lengths), before)


def test_reverse_clips_is_its_own_inverse():
    x, lengths = torch.randn(5, 2, 1), torch.tensor([5, 3])
    once = reverse_clips(x, lengths)
    assert once[:, 1, 0].tolist() == [*x[:3, 1, 0].flip(0).tolist(), *x[3:, 1, 0].tolist()]
    assert torch.equal(reverse_clips(once, lengths), x)


def test_stacked_frames_keep_their_order():
    features = torch.arange(2 * 7 * 2.0).reshape(2, 7, 2)
    stacked = stack_frames(fill_up(features, torch.tensor([7, 2]), 3), 3)
    assert stacked.shape == (2, 2, 6)
    assert stacked[0, 1].tolist() == features[0, 3:6].flatten().tolist()
    assert stacked[1, 0].tolist() == [*features[1, :2].flatten().tolist(), 0, 0]


@pytest.mark.parametrize("how", ["orthogonal", "identity"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_start_keeps_norms(cell, how):
    model = model_of(cell=cell, recurrent_init=how)
    for layer in model.encoder.forward_layers:
        for weight in layer.recurrent_weights():
            torch.testing.assert_close(weight @ weight.t(), torch.eye(8), atol=1e-5, rtol=0)


def test_parameters_and_macs_equal_hand_counts():
    model = build_model(ModelSettings(cell="lstm", head_norm=True), 40, 35)
    layers = 4 * (40 * 128 + 128 * 128 + 2 * 128) + 4 * (128 * 128 + 128 * 128 + 2 * 128)
    assert count_parameters(model) == layers + 2 * 128 + 128 * 35 + 35
    assert count_macs(model, 98, 40) == 98 * 4 * (40 * 128 + 3 * 128 * 128) + 128 * 35
    short = build_model(ModelSettings(frame_stack=4), 40, 35)
    assert count_macs(short, 98, 40) == 24 * (160 * 128 + 3 * 128 * 128) + 128 * 35


def test_stem_and_attention_equal_hand_counts():
    stem = StemSettings(channels=[96, 64], kernel=5, stride=2)
    model = build_model(
        ModelSettings(cell="gru", num_layers=1, bidirectional=True, stem=stem, pooling="attention"), 40, 35
    )
    convolutions = 5 * 40 * 96 + 5 * 96 * 64
    gru = 2 * 3 * (64 * 128 + 128 * 128 + 2 * 128)
    assert count_parameters(model) == convolutions + 2 * (96 + 64) + gru + (256 + 1) + (256 * 35 + 35)
    n_first, n_steps = (98 - 5) // 2 + 1, ((98 - 5) // 2 + 1 - 5) // 2 + 1
    steps = n_steps * (2 * 3 * (64 * 128 + 128 * 128) + 2 * 256)  # and the score and the weighted sum of attention
    assert count_macs(model, 98, 40) == n_first * 5 * 40 * 96 + n_steps * 5 * 96 * 64 + steps + 256 * 35
    assert count_macs(build_model(ModelSettings(cell="mingru", num_layers=1), 40, 35), 98, 40) == (
        98 * 2 * 40 * 128 + 128 * 35
    )


def test_stem_over_bands_equals_hand_counts():
    stem = StemSettings(channels=[32, 64], bands=BandSettings(joined=128))
    model = build_model(ModelSettings(num_layers=1, stem=stem), 40, 35)
    convolutions = 5 * 3 * 32 + 5 * 3 * 32 * 64 + 10 * 64 * 128
    assert count_parameters(model) == convolutions + 2 * (32 + 64 + 128) + 128 * 257 + 129 * 35
    n_first, n_steps = (98 - 5) // 2 + 1, ((98 - 5) // 2 + 1 - 5) // 2 + 1
    in_stem = n_first * 20 * 5 * 3 * 32 + n_steps * (10 * 5 * 3 * 32 * 64 + 10 * 64 * 128)
    assert count_macs(model, 98, 40) == in_stem + n_steps * 2 * 128 * 128 + 128 * 35


def test_a_stem_over_bands_takes_what_is_moved_for_much_the_same():
    """Before `join`, moved by one stride of the bands, the same comes out, moved."""
    settings = StemSettings(channels=[5], kernel=3, bands=BandSettings(joined=6))
    torch.manual_seed(0)
    n_bands = 12
    (layer,) = ConvStem(n_bands, settings).eval().layers
    features = torch.randn(1, 1, N_FRAMES, n_bands)
    there, moved = layer(features), layer(features.roll(2, dims=3))
    assert there.shape[-1] == n_bands // 2 and there[..., 1:-1].any()
    torch.testing.assert_close(there[..., 1:-1], moved[..., 2:])
    assert not torch.allclose(there, moved)


@pytest.mark.parametrize("bands", [None, BandSettings(joined=6)])
def test_stem_sees_its_reach_and_no_further(bands):
    model = model_of(stem=StemSettings(channels=[5, 7], kernel=3, stride=2, bands=bands), frame_stack=2)
    assert (model.step_frames, model.reach) == (8, 11)
    features, lengths = torch.randn(1, N_FRAMES, N_MELS), torch.tensor([N_FRAMES])
    states, n_steps = model.states(features, lengths)
    assert states.shape[0] == n_steps.item() == 2
    for frame in range(N_FRAMES):
        changed = features.clone()
        changed[0, frame] += 1
        differs = (model.states(changed, lengths)[0] != states).any(-1)[:, 0]
        assert differs.tolist() == [frame < 11, frame < 19]


@pytest.mark.parametrize(("width", "n_parameters"), [(1, 9_232), (8, 321_068)])
def test_bc_resnet_has_the_published_size(width, n_parameters):
    """9.2 K and 321 K in table 1 of arXiv:2106.04140, for 12 classes."""
    assert count_parameters(build_model(ModelSettings(published=f"bc_resnet_{width}"), 40, 12)) == n_parameters


def test_bc_resnet_1_equals_hand_count():
    model = build_model(ModelSettings(published="bc_resnet_1"), 40, 12)
    macs, n_in = 25 * 16 * 20, 16
    for n_out, n_blocks, bands in ((8, 2, 20), (12, 2, 10), (16, 4, 5), (20, 4, 5)):
        for i in range(n_blocks):
            before = bands * (2 if i == 0 and n_out in (12, 16) else 1)
            macs += (n_in * n_out * before if i == 0 else 0) + 3 * n_out * bands + 3 * n_out + n_out * n_out
            n_in = n_out
    macs += 25 * 20 + 20 * 32
    assert count_macs(model, 98, 40) == macs * 98 + 32 * 12


def test_mhatt_rnn_equals_hand_count():
    model = build_model(ModelSettings(published="mhatt_rnn"), 40, 35)
    convolutions = (5 * 10 + 10 + 2 * 10) + (5 * 10 + 1 + 2)
    gru = 2 * 3 * (40 * 128 + 256 * 128 + 2 * 128 * 128 + 4 * 128)
    queries, classifier = 256 * 1024 + 1024, (1024 * 64 + 64) + (64 * 32 + 32) + (32 * 35 + 35)
    assert count_parameters(model) == convolutions + gru + queries + classifier


@pytest.mark.parametrize("published", ["bc_resnet_1", "mhatt_rnn"])
def test_published_models_look_at_real_frames_only(published):
    torch.manual_seed(0)
    model = build_model(ModelSettings(published=published, feature_norm="standard"), 40, N_CLASSES).eval()
    features, lengths = torch.randn(2, 98, 40), torch.tensor([98, 60])
    expected = model(features, lengths)
    features[1, 60:] = 1e3
    torch.testing.assert_close(model(features, lengths), expected)
    torch.testing.assert_close(model(features[1:, :60], lengths[1:]), expected[1:])


@pytest.mark.parametrize("name", load_registry())
def test_every_experiment_builds_learns_and_reloads(name):
    settings = load_registry()[name].model
    torch.manual_seed(0)
    model = build_model(settings, 40, 5)
    features, lengths, labels = torch.randn(8, 98, 40), torch.full((8,), 98), torch.arange(8) % 5
    loss = nn.functional.cross_entropy(model(features, lengths), labels)
    loss.backward()
    told = [p for n, p in model.named_parameters() if not n.startswith("phonemes.")]  # those only the objective trains
    assert all(p.grad is not None and p.grad.isfinite().all() for p in told)
    torch.optim.Adam(model.parameters(), 1e-3).step()
    again = build_model(settings, 40, 5)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(features, lengths), model.eval()(features, lengths))
