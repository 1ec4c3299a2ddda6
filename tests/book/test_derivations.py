"""Derivations that say more than the one case shown in a chapter."""

import numpy as np
import pytest
import sympy as sp
from derivations import gradient_descent as gd
from derivations import spikes
from derivations.spikes import sigma


@pytest.mark.parametrize("forward, backward", [(1, 1), (1, 2), (2, 2)])
def test_the_rule_holds_for_one_more_question_after_any_others(forward, backward):
    question = gd.Question.in_letters(forward, backward)
    said = gd.answer(question)
    own_responses = question.response[forward, :].T
    inner_products = question.gram[:, forward]
    assert sp.simplify(said.echo - sigma**2 * own_responses).is_zero_matrix
    assert sp.simplify(said.noise_covariance - sigma**2 * inner_products).is_zero_matrix


def test_a_question_asked_again_gets_no_new_noise():
    question = gd.Question.in_letters(1, 1)
    repeated = sp.Matrix(2, 2, lambda i, k: question.gram[0, 0])
    assert gd.answer(question._replace(gram=repeated)).new_variance == 0


def test_an_overlap_is_a_sum_over_paths():
    G, H, B, A = spikes.G, spikes.H, spikes.B, spikes.A
    one = [sp.Matrix([[x]]) for x in (G, H, B, 0)]
    mirrored = [sp.Matrix([[x]]) for x in (G, H, 0, A)]
    chain = (
        sp.Matrix([[spikes.G1]]),
        sp.Matrix([[spikes.H1, spikes.H12], [spikes.H12, spikes.H2]]),
        sp.Matrix([[spikes.b, 0]]),
        sp.Matrix([[0], [spikes.a]]),
    )
    for queries in (one, mirrored, chain):
        difference = spikes.overlap_matrix(*queries) - spikes.sum_over_paths(*queries)
        assert difference.applyfunc(sp.expand).is_zero_matrix


def test_paths_explain_the_overlaps_of_a_longer_chain_in_the_library():
    ensemble = spikes.tanh_chain(1.25, [[2.0, 1.0], [-1.0, 1.0]])
    parts = ("left_gram", "right_gram", "left_response", "right_response")
    numbers = [sp.Matrix(np.asarray(getattr(ensemble, part))) for part in parts]
    s = 1.2 * float(ensemble.law.edges[0][1])
    at = {
        spikes.c: 1.25,
        sigma: 1.0,
        spikes.m_L: float(ensemble.law.m_left(s)),
        spikes.m_R: float(ensemble.law.m_right(s)),
    }
    paths = np.array(spikes.sum_over_paths(*numbers).subs(at), float)
    np.testing.assert_allclose(paths, ensemble.overlap_matrix(s), rtol=1e-10)


@pytest.mark.parametrize("left, right", [(1, 1), (2, 1), (2, 2)])
def test_the_effective_matrix_has_the_core_off_the_diagonal(left, right):
    K = spikes.effective_matrix(left, right)
    assert K == K.T
    assert not K[:left, left:].free_symbols & {spikes.m_L, spikes.m_R}
    assert spikes.m_R in K[0, 0].free_symbols
    assert spikes.m_L in K[left, left].free_symbols
