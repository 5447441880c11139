"""Cascades that rewrites bring to one pass, and those that none can; with inputs on which both sides are compared.

No test relies on the names of tensors or ranks: they differ from case to case.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from einsum_cascades.extents import mentioned, resolve_extents
from einsum_cascades.ir import Cascade
from einsum_cascades.notation import parse
from einsum_cascades.structure import structure

KEYS = {"p": 4, "m": 7, "e": 2, "f": 3}
"""Extents of an attention of 4 queries and 7 keys."""


@dataclass(frozen=True, eq=False)
class Case:
    """A cascade with extents, what it is rewritten over (None: every rank), and its passes as it stands."""

    name: str
    text: str
    extents: dict[str, int] = field(default_factory=lambda: dict(KEYS))
    over: str | None = None
    before: int = 3

    @property
    def cascade(self) -> Cascade:
        return parse(self.text)


SOFTMAX = """
GM[p] = max[m] S[p,m]
SN[p,m] = exp(S[p,m] - GM[p])
SD[p] = SN[p,m]
A[p,m] = SN[p,m] / SD[p]
AV[p,f] = A[p,m] * V[m,f]
"""

ATTENTION = "QK[p,m] = Q[p,e] * K[m,e]\n" + SOFTMAX.replace("S[p,m]", "QK[p,m]")

CASES = (
    Case("attention", ATTENTION),
    Case("renamed", """
Zeta[i,j] = Up[i,d] * Down[j,d]
Top[i] = max[j] Zeta[i,j]
Num[i,j] = exp(Zeta[i,j] - Top[i])
Den[i] = Num[i,j]
Prob[i,j] = Num[i,j] / Den[i]
Out[i,c] = Prob[i,j] * Val[j,c]
""", {"i": 4, "j": 7, "d": 2, "c": 3}),
    Case("names_taken", """
RGM[p,m] = Q[p,e] * K[m,e]
LGM[p] = max[m] RGM[p,m]
NAV[p,m] = exp(RGM[p,m] - LGM[p])
RSD[p] = NAV[p,m]
PGM[p,m] = NAV[p,m] / RSD[p]
AV[p,f] = PGM[p,m] * V[m,f]
"""),
    Case("part_taken", ATTENTION + "Z[m0] = Y[m0] * 2\n", KEYS | {"m0": 3}, over="m"),
    Case("causal", "S[p,m] = Q[p,e] * K[m,e] where m + 2 <= p" + SOFTMAX),
    Case("window", """
S[p,m] = Q[p,e] * K[m,e]
GM[p] = max[m] S[p,m] where m <= p and p - m < W
SN[p,m] = exp(S[p,m] - GM[p]) where m <= p and p - m < W
SD[p] = SN[p,m]
AV[p,f] = SN[p,m] / SD[p] * V[m,f]
""", KEYS | {"p": 7, "w": 2}),
    Case("padding", """
S[b,p,m] = Q[b,p,e] * K[b,m,e] where m < Len[b]
GM[b,p] = max[m] S[b,p,m]
SN[b,p,m] = exp(S[b,p,m] - GM[b,p])
SD[b,p] = SN[b,p,m]
A[b,p,m] = SN[b,p,m] / SD[b,p]
AV[b,p,f] = A[b,p,m] * V[b,m,f]
""", KEYS | {"b": 2}),
    Case("mask_as_predicate", "S[p,m] = Q[p,e] * K[m,e] where Mask[p,m] > 0" + SOFTMAX),
    Case("mask_as_infinity", """
QK[p,m] = Q[p,e] * K[m,e]
S[p,m] = where(Mask[p,m] > 0, QK[p,m], -inf)""" + SOFTMAX),
    Case("mask_after_exponential", """
QK[p,m] = Q[p,e] * K[m,e]
GM[p] = max[m] QK[p,m]
SN[p,m] = where(Mask[p,m] > 0, exp(QK[p,m] - GM[p]), 0)
SD[p] = SN[p,m]
A[p,m] = SN[p,m] / SD[p]
AV[p,f] = A[p,m] * V[m,f]
"""),
    Case("masked_queries", """
QK[p,m] = Q[p,e] * K[m,e] where p < Rows[]
GM[p] = max[m] QK[p,m] where p < Rows[]
SN[p,m] = exp(QK[p,m] - GM[p]) where p < Rows[]
SD[p] = sum[m] SN[p,m] where p < Rows[]
A[p,m] = SN[p,m] / SD[p] where p < Rows[]
AV[p,f] = sum[m] A[p,m] * V[m,f] where p < Rows[]
"""),
    Case("bias", """
QK[p,m] = Q[p,e] * K[m,e]
GM[p] = max[m] QK[p,m] + B[p,m]
SD[p] = sum[m] exp(QK[p,m] + B[p,m] - GM[p])
AV[p,f] = sum[m] exp(B[p,m] + QK[p,m] - GM[p]) / SD[p] * V[m,f]
"""),
    Case("temperature", """
QK[p,m] = Q[p,e] * K[m,e]
GM[p] = max[m] QK[p,m]
SN[p,m] = exp((QK[p,m] - GM[p]) / Temperature[])
SD[p] = SN[p,m]
A[p,m] = SN[p,m] / SD[p]
AV[p,f] = A[p,m] * V[m,f]
"""),
    Case("sink", """
QK[p,m] = Q[p,e] * K[m,e]
GM[p] = max[m] QK[p,m]
G[p] = max(GM[p], Sink[])
SN[p,m] = exp(QK[p,m] - G[p])
SS[p] = SN[p,m]
SD[p] = SS[p] + exp(Sink[] - G[p])
A[p,m] = SN[p,m] / SD[p]
AV[p,f] = A[p,m] * V[m,f]
"""),
    Case("everything", """
S[h,p,m] = Q[h,p,e] * K[h//R,m,e] where m <= p and p - m < W
T[h,p,m] = S[h,p,m] / sqrt(E) - Slope[h] * (p - m) + B[p,m]
G0[h,p] = max[m] T[h,p,m]
G[h,p] = max(G0[h,p], Sink[h])
N[h,p,m] = exp(T[h,p,m] - G[h,p])
D[h,p] = N[h,p,m]
Z[h,p] = D[h,p] + exp(Sink[h] - G[h,p])
P[h,p,m] = N[h,p,m] / Z[h,p]
O[h,p,f] = P[h,p,m] * V[h//R,m,f]
O2[h,p,f] = P[h,p,m] * U[h//R,m,f]
LSE[h,p] = G[h,p] + log(Z[h,p])
""", KEYS | {"p": 7, "h": 4, "r": 2, "w": 3}),
    Case("log_sum_exp", ATTENTION + "LSE[p] = GM[p] + log(SD[p])\nAW[p,g] = A[p,m] * W[m,g]\n", KEYS | {"g": 2}),
    Case("log_sum_exp_as_reference", """
S[p,m] = Q[p,e] * K[m,e]
G[p] = max[m] S[p,m]
D[p] = sum[m] exp(S[p,m] - G[p])
L[p] = log(D[p]) + G[p]
O[p,f] = sum[m] exp(S[p,m] - L[p]) * V[m,f]
output L
"""),
    Case("minimum", """
S[p,m] = Q[p,e] * K[m,e]
G[p] = min[m] S[p,m]
N[p,m] = exp2(G[p] - S[p,m])
D[p] = N[p,m]
O[p,f] = N[p,m] / D[p] * V[m,f]
"""),
    Case("no_reference", """
SN[p,m] = exp(S[p,m])
SD[p] = SN[p,m]
AV[p,f] = SN[p,m] / SD[p] * V[m,f]
""", before=2),
    Case("operator_of_its_own", """
op ex(x) = exp(x) homomorphism(add, mul) homomorphism(sub, div) monotone
""" + ATTENTION.replace("exp(", "ex(")),
    Case("grouped", """
X[p,g,t] = Q[p,e] * K[g*T + t, e] where g < p // T and t < T - 1
L[p,g] = Q[p,e] * K[g*T + T - 1, e] where g < p // T
GI[p,g] = max[t] X[p,g,t]
NI[p,g,t] = exp(X[p,g,t] - GI[p,g])
DI[p,g] = NI[p,g,t]
VI[p,g,f] = NI[p,g,t] * V[g*T + t, f]
GO[p] = max[g] L[p,g]
NO[p,g] = exp(L[p,g] - GO[p])
DO[p] = NO[p,g]
O[p,f] = NO[p,g] * VI[p,g,f] / DI[p,g] / DO[p]
""", {"p": 12, "g": 4, "t": 3, "e": 2, "f": 3}),
    Case("two_softmaxes_in_one_another", """
X[p,g,t] = Q[p,e] * K[g,t,e]
L[p,g] = Q[p,e] * KL[g,e]
GI[p,g] = max[t] X[p,g,t]
NI[p,g,t] = exp(X[p,g,t] - GI[p,g])
DI[p,g] = NI[p,g,t]
AI[p,g,t] = NI[p,g,t] / DI[p,g]
GO[p] = max[g] L[p,g]
NO[p,g] = exp(L[p,g] - GO[p])
DO[p] = NO[p,g]
AO[p,g] = NO[p,g] / DO[p]
A[p,g,t] = AI[p,g,t] * AO[p,g]
O[p,f] = A[p,g,t] * V[g,t,f]
""", {"p": 4, "g": 5, "t": 3, "e": 2, "f": 3}),
    Case("two_sources", """
S1[p,m] = Q[p,e] * K[m,e]
S2[p,n] = Q[p,e] * C[n,e] where n <= p
G1[p] = max[m] S1[p,m]
G2[p] = max[n] S2[p,n]
G[p] = max(G1[p], G2[p])
N1[p,m] = exp(S1[p,m] - G[p])
N2[p,n] = exp(S2[p,n] - G[p])
D1[p] = N1[p,m]
D2[p] = N2[p,n]
D[p] = D1[p] + D2[p]
O1[p,f] = N1[p,m] / D[p] * V[m,f]
O2[p,f] = N2[p,n] / D[p] * U[n,f]
O[p,f] = O1[p,f] + O2[p,f]
""", KEYS | {"n": 5}),
    Case("window_of_two_ranks", """
S[y,x,j,i] = Q[y,x,e] * K[clamp(y - J//2, 0, H - J) + j, clamp(x - I//2, 0, W - I) + i, e]
G[y,x] = max[j, i] S[y,x,j,i]
N[y,x,j,i] = exp(S[y,x,j,i] - G[y,x])
D[y,x] = N[y,x,j,i]
O[y,x,f] = N[y,x,j,i] / D[y,x] * V[clamp(y - J//2, 0, H - J) + j, clamp(x - I//2, 0, W - I) + i, f]
""", {"y": 5, "x": 4, "j": 3, "i": 3, "e": 2, "f": 2, "h": 5, "w": 4}),
    Case("padded_window", """
S[p,j] = Q[p,e] * K[p + j - J//2, e; fill=0]
G[p] = max[j] S[p,j]
N[p,j] = exp(S[p,j] - G[p])
D[p] = N[p,j]
O[p,f] = N[p,j] / D[p] * V[p + j - J//2, f; fill=0]
""", {"p": 6, "j": 5, "e": 2, "f": 2}),
    Case("ragged", """
Peak[s] = max[t] X[t] where Off[s] <= t and t < Off[s + 1]
W[s,t] = exp(X[t] - Peak[s]) where Off[s] <= t and t < Off[s + 1]
D[s] = W[s,t]
Pool[s,e] = sum[t] W[s,t] / D[s] * V[t,e]
""", {"s": 3, "t": 7, "e": 2}),
    Case("tiles_given", """
QK[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e] where m1 <= p
GM[p] = max[m1,m0] QK[p,m1,m0]
SN[p,m1,m0] = exp(QK[p,m1,m0] - GM[p])
SD[p] = SN[p,m1,m0]
A[p,m1,m0] = SN[p,m1,m0] / SD[p]
AV[p,f] = A[p,m1,m0] * V[m1*M0 + m0, f]
""", KEYS | {"m0": 3}),
    Case("local_statistics_given", """
BQK[m1,m0,p] = Q[p,e] * K[m1*M0 + m0, e]
LM[m1,p] = max[m0] BQK[m1,m0,p]
SLN[m1,m0,p] = exp(BQK[m1,m0,p] - LM[m1,p])
SLD[m1,p] = SLN[m1,m0,p]
GM[p] = max[m1] LM[m1,p]
PLM[m1,p] = exp(LM[m1,p] - GM[p])
SN[m1,m0,p] = SLN[m1,m0,p] * PLM[m1,p]
SD[p] = SLD[m1,p] * PLM[m1,p]
SNV[p,f] = SN[m1,m0,p] * V[m1*M0 + m0, f]
AV[p,f] = SNV[p,f] / SD[p]
""", KEYS | {"m0": 3}, before=2),
    Case("outputs_on_the_way", ATTENTION + "output QK, GM\n"),
    Case("mean_over_heads", """
QK[h,p,m] = Q[h,p,e] * K[h,m,e]
GM[h,p] = max[m] QK[h,p,m]
SN[h,p,m] = exp(QK[h,p,m] - GM[h,p])
SD[h,p] = SN[h,p,m]
A[h,p,m] = SN[h,p,m] / SD[h,p]
B[p,m] = A[h,p,m] * Wh[h]
AV[p,f] = B[p,m] * V[m,f]
""", KEYS | {"h": 2}),
    Case("largest_probability", ATTENTION + "Conf[p] = max[m] A[p,m]\n"),
    Case("entropy", ATTENTION + "H[p] = -(A[p,m] * log(A[p,m]))\n"),
    Case("spread_of_the_values", ATTENTION + "M2[p,f] = A[p,m] * square(V[m,f] - AV[p,f])\n", before=4),
    Case("masked_and_normalised_again", ATTENTION.replace("AV[p,f] = A[p,m] * V[m,f]", """Pm[p,m] = A[p,m] * Keep[p,m]
Z[p] = Pm[p,m]
R[p,m] = Pm[p,m] / (Z[p] + 1e-9)
O[p,f] = R[p,m] * V[m,f]"""), before=4),
    Case("cross_entropy", """
GM[p] = max[m] S[p,m]
SN[p,m] = exp(S[p,m] - GM[p])
SD[p] = SN[p,m]
LP[p,m] = S[p,m] - GM[p] - log(SD[p])
Loss[p] = -(LP[p,m] * Y[p,m])
""", {"p": 4, "m": 7}),
    Case("brier_score", """
GM[p] = max[m] S[p,m]
SN[p,m] = exp(S[p,m] - GM[p])
SD[p] = SN[p,m]
A[p,m] = SN[p,m] / SD[p]
Brier[p] = square(A[p,m] - Y[p,m])
""", {"p": 4, "m": 7}),
    Case("softmax_over_states", """
init H[0] = 0
H[i+1] = 0.5 * H[i] + X[i]
S[i] = tanh(H[i+1]) * 3
G[] = max[i] S[i]
E[i] = exp(S[i] - G[])
Z[] = E[i]
Y[f] = E[i] / Z[] * V[i,f]
""", {"i": 7, "f": 2}),
    Case("variance", "Mu[p] = mean[e] X[p,e]\nVar[p] = mean[e] square(X[p,e] - Mu[p])\n", {"p": 4, "e": 7}, before=2),
    Case("variance_by_hand", """
S[p] = X[p,e]
Mu[p] = S[p] / E
D[p,e] = X[p,e] - Mu[p]
Q[p,e] = D[p,e] * D[p,e]
V[p] = Q[p,e]
Var[p] = V[p] / (E - 1)
output Mu
""", {"p": 4, "e": 7}, before=2),
    Case("variance_of_a_prefix", """
Mu[p] = mean[e] X[p,e] where e <= p
Var[p] = mean[e] square(X[p,e] - Mu[p]) where e <= p
""", {"p": 4, "e": 7}, before=2),
    Case("variance_with_weights", """
W[p] = Wt[p,e]
Mu[p] = sum[e] Wt[p,e] * X[p,e] / W[p]
Va[p] = sum[e] Wt[p,e] * square(X[p,e] - Mu[p]) / W[p]
""", {"p": 3, "e": 7}),
    Case("variance_of_two_ranks", """
Mu[b] = mean[y, x] X[b,y,x]
Va[b] = mean[y, x] square(X[b,y,x] - Mu[b])
""", {"b": 2, "y": 5, "x": 4}, before=2),
    Case("correlation", """
Mx[] = mean[i] X[i]
My[] = mean[i] Y[i]
Sx[] = mean[i] square(X[i] - Mx[])
Sy[] = mean[i] square(Y[i] - My[])
R[] = mean[i] (X[i] - Mx[]) * (Y[i] - My[]) / sqrt(Sx[] * Sy[])
""", {"i": 9}),
    Case("third_and_fourth_moment", """
Mu[p] = mean[e] X[p,e]
M3[p] = mean[e] pow(X[p,e] - Mu[p], 3)
M4[p] = mean[e] square(square(X[p,e] - Mu[p]))
""", {"p": 4, "e": 7}, before=2),
    Case("layer_norm_into_a_product", """
Mu[p] = mean[e] X[p,e]
Var[p] = mean[e] square(X[p,e] - Mu[p])
N[p,e] = (X[p,e] - Mu[p]) * rsqrt(Var[p] + 1e-5) * G[e] + B[e]
Y[p,f] = N[p,e] * W[e,f]
""", {"p": 4, "e": 7, "f": 3}),
    Case("rms_norm_into_a_product", """
Sq[p] = X[p,e] * X[p,e]
N[p,e] = X[p,e] * rsqrt(Sq[p] / E + 1e-5) * G[e]
Y[p,f] = N[p,e] * W[e,f]
""", {"p": 4, "e": 7, "f": 3}, before=2),
    Case("normalised_keys", """
Kn[m] = K[m,e] * K[m,e]
KN[m,e] = K[m,e] * rsqrt(Kn[m] + 1e-6)
S[p,m] = Q[p,e] * KN[m,e]""" + SOFTMAX),
    Case("linear_attention", """
S[p,m] = Phi[p,e] * Psi[m,e]
D[p] = S[p,m]
A[p,m] = S[p,m] / D[p]
O[p,f] = A[p,m] * V[m,f]
""", before=2),
    Case("causal_linear_attention", """
S[p,m] = Phi[p,e] * Psi[m,e] where m <= p
D[p] = S[p,m]
A[p,m] = S[p,m] / (D[p] + 1e-6)
O[p,f] = A[p,m] * V[m,f]
""", KEYS | {"p": 7}, before=2),
)

FORCED = (
    (Case("layer_norm", """
Mu[p] = mean[e] X[p,e]
Var[p] = mean[e] square(X[p,e] - Mu[p])
Y[p,e] = (X[p,e] - Mu[p]) * rsqrt(Var[p] + 1e-5)
"""), "Y", ("X[p,e]", "Mu[p]")),
    (Case("double_softmax", """
S[p,m] = Q[p,e] * K[m,e]
G1[p] = max[m] S[p,m]
N1[p,m] = exp(S[p,m] - G1[p])
D1[p] = N1[p,m]
A1[p,m] = N1[p,m] / D1[p]
G2[p] = max[m] A1[p,m]
N2[p,m] = exp(A1[p,m] - G2[p])
D2[p] = N2[p,m]
O[p,f] = N2[p,m] / D2[p] * V[m,f]
"""), "D2", ("N2[p,m]", "S[p,m]", "G1[p]")),
    (Case("gate_of_the_mean", """
Mean[c] = mean[i] X[i,c]
G[c] = sigmoid(Mean[c])
Y[i,c] = X[i,c] * G[c]
"""), "Y", ("X[i,c]", "G[c]")),
    (Case("gate_of_the_mean_inside_of_a_sum", """
Mean[c] = mean[i] X[i,c]
Y[i,c] = silu(X[i,c] - Mean[c])
Z[c] = Y[i,c]
"""), "Z", ("Y[i,c]", "X[i,c]", "Mean[c]", "'silu'")),
    (Case("columns_after_softmax", ATTENTION.replace("AV[p,f] = A[p,m] * V[m,f]", """C[m] = A[p,m]
B[p,m] = A[p,m] / C[m]
O[p,f] = B[p,m] * V[m,f]""")), "O", ("B[p,m]", "C[m]")),
    (Case("columns_after_softmax_over_the_keys", ATTENTION.replace("AV[p,f] = A[p,m] * V[m,f]", """C[m] = A[p,m]
B[p,m] = A[p,m] / C[m]
O[p,f] = B[p,m] * V[m,f]"""), over="m"), "O", ("B[p,m]", "GM[p]")),
    (Case("probabilities", ATTENTION + "output A\n"), "A", ("SN[p,m]", "GM[p]")),
    (Case("scale_by_the_variance", """
Va[p] = var[m] S[p,m]
N[p,m] = exp(S[p,m] * rsqrt(Va[p]))
D[p] = N[p,m]
"""), "D", ("S[p,m]", "Va[p]")),
    (Case("threshold_at_the_mean", """
Mn[p] = mean[m] S[p,m]
T[p,m] = S[p,m] where S[p,m] > Mn[p]
O[p,f] = T[p,m] * V[m,f]
"""), "O", ("S[p,m]", "Mn[p]", "predicate")),
    (Case("opposite_scans", """
init F[0] = 0
init B[I] = 0
F[i+1] = 0.5 * F[i] + X[i]
B[i] = 0.5 * B[i+1] + X[i]
Y[i] = F[i+1] * B[i]
"""), None, ("B[i+1]",)),
    (Case("last_state_as_a_gate", """
init H[0,n] = 0
H[i+1,n] = A[i,n] * H[i,n] + X[i,n]
Y[i,n] = X[i,n] * sigmoid(H[I,n])
"""), "Y", ("X[i,n]", "H[I,n]")),
)
"""Cascades that stay above one pass, the Einsum that forces the pass, and what the message must name."""


def arrays(case: Case, seed: int, *, extreme: bool = False) -> dict[str, np.ndarray]:
    """Returns inputs for a case: normal numbers, or logits of 80 and -80 and values far from 0 where ``extreme``.

    The first query of a mask sees nothing.
    """
    rng = np.random.default_rng([seed, extreme])
    cascade = case.cascade
    found = structure(cascade)
    extents = resolve_extents(cascade, {r: n for r, n in case.extents.items() if r in mentioned(cascade)})
    made = {}
    for tensor in found.inputs:
        shape = tuple(extents[n] if n is not None else 12 for n in found.dimensions[tensor])
        made[tensor] = np.asarray(_drawn(rng, tensor, shape, extreme, extents), dtype=float)
    return made


def _drawn(rng: np.random.Generator, tensor: str, shape: tuple[int, ...], extreme: bool,
           extents: dict[str, int]) -> np.ndarray:
    signs = np.where(rng.random(shape) < 0.5, -1.0, 1.0)
    match tensor:
        case "Mask":
            mask = rng.random(shape) < 0.5
            mask[0] = False
            return mask
        case "Len":
            return rng.integers(0, extents["m"] + 1, shape)
        case "Rows":
            return np.array(2.0)
        case "Off":
            return np.array([0, 2, 5, 5])
        case "Temperature":
            return np.array(1.7)
        case "Wt" | "Keep" | "Phi" | "Psi":
            return rng.random(shape) + 0.1
        case "Q" | "Up" if extreme:
            return signs * 80 / shape[-1]
        case "K" | "Down" | "C" if extreme and len(shape) > 1:
            return signs
        case "S" if extreme:
            return signs * 80
        case "X" if extreme and "e" in extents:
            return rng.normal(size=shape) + 1000
    return rng.normal(size=shape)


def tiled(cascade: Cascade, case: Case, tile: int) -> dict[str, int]:
    """Returns the extents of a derived cascade: those of the case, and a tile for every inner rank that it lacks."""
    names = mentioned(cascade)
    found = {r: n for r, n in case.extents.items() if r in names}
    return found | {r: tile for r in names if r not in found and r.endswith("0")}
