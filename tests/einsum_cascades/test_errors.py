"""Whole messages of every error that a text or a cascade can have: place, thing, value and remedy."""

from __future__ import annotations

import math

import pytest

from einsum_cascades.errors import FusebenchError, NotationError
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, UserOperator
from einsum_cascades.notation import parse

ERRORS = [
    ("",
     ("cascade: cascade: it has no Einsum, got an empty text; write at least one line such as 'Z[m] = "
     "A[k,m] * B[k]'")),
    ("# only a comment",
     ("cascade: cascade: it has no Einsum, got declarations or comments only; write at least one line "
     "such as 'Z[m] = A[k,m] * B[k]'")),
    ("Z[m] = A[k,m] * B[k",
     "cascade:1:18: bracket '[': it is never closed, got the end of the text; close it"),
    ("Z[m] = A[k,m)] * B[k]",
     ("cascade:1:13: bracket ')': it does not close the '[' of line 1, column 9, got ')'; close that "
     "one first")),
    ("Z[m] = A[k,m] ** B[k]",
     "cascade:1:16: expression: there is no operator '**', got '**'; write pow(a, b), or square(a)"),
    ("init H[0] = 0; H[i+1] = H[i] + Y[]; Y[] = H[i]", (
        "cascade:1:43: tensors 'H', 'Y': their definitions form a cycle, got H -> Y -> H; break it with an iterative rank "
        "(R[i+1,...] = ... R[i,...] ... and 'init R[0,...] = ...') or rename one of the tensors")),
    ("Z[m] == A[k,m]",
     "cascade:1:6: tensor 'Z': '==' compares, got '=='; define with a single '='"),
    ("Z[m] A[k,m]",
     "cascade:1:6: tensor 'Z': '=' is missing after its left side, got 'A'; write 'Z[...] = ...'"),
    ("Z[m] = ",
     ("cascade:1:8: expression: an operand is missing, got the end of the text; write a tensor, a "
     "rank, an extent, a number or an operator")),
    ("Z = A[k]",
     ("cascade:1:1: line: a tensor with its ranks in brackets or a keyword should begin it, got 'Z'; "
     "write 'Z[...] = ...', with its ranks in brackets (Z[] is a scalar)")),
    ("z[m] = A[m]",
     "cascade:1:1: tensor 'z': names of tensors begin with a capital letter, got 'z'; write 'Z'"),
    ("Z[m] = off[m] * 2",
     "cascade:1:8: tensor 'off': names of tensors begin with a capital letter, got 'off'; write 'Off'"),
    ("Z[m] = max(A[m])",
     "cascade:1:8: operator 'max': it takes 2 operands, got 1; write max(a, b) or max[rank] ..."),
    ("Z[m] = sofmax(A[m])",
     ("cascade:1:8: operator 'sofmax': there is none of that name, got 'sofmax'; did you mean 'max'? "
     "valid: abs, atan2, ceil, clamp, cos, elu, erf, exp, exp2, expm1, floor, gelu, ... (35 in all)")),
    ("Z[m] = max(A[m], max[k] B[k])",
     ("cascade:1:18: reduction 'max': it stands inside an expression, got 'max[' here; a named "
     "reduction stands only at the head of the right side: give it a line of its own")),
    ("GM[p] = maxx[m] QK[p,m]",
     ("cascade:1:9: reduction 'maxx': there is none of that name, got 'maxx'; did you mean 'max'? "
     "valid: all, any, argmax, argmin, bottomk, count, max, mean, min, prod, sort, sort_descending, "
     "... (16 in all)")),
    ("GM[p] = max[k] QK[p,m]",
     "cascade:1:9: rank 'k': 'max' reduces it but the right side lacks it, got max[k]; valid: m"),
    ("GM[p,m] = max[m] QK[p,m]",
     ("cascade:1:11: rank 'm': 'max' reduces it but the left side keeps it, got it in both; remove it "
     "from one of them")),
    ("Z[p] = Q[p,e]*K[e] + B[p]",
     ("cascade:1:22: rank 'e': it is summed without a name but a term lacks it, got 'B[p]', which "
     "would be added once for each e; give the term a line of its own, or name the reduction at the "
     "head (sum[e] ...)")),
    ("Z[p] = X[p] where m <= p",
     ("cascade:1:8: rank 'm': it is summed without a name but a term lacks it, got 'X[p]', which would "
     "be added once for each m; give the term a line of its own, or name the reduction at the head "
     "(sum[m] ...)")),
    ("A[p] = B[p]; B[p] = A[p]",
     ("cascade:1:21: tensors 'A', 'B': their definitions form a cycle, got A -> B -> A; break it with "
     "an iterative rank (R[i+1,...] = ... R[i,...] ... and 'init R[0,...] = ...') or rename one of "
     "the tensors")),
    ("A[p] = B[p]; A[q] = C[q]",
     ("cascade:1:14: tensor 'A': it is defined twice, got a second definition (first in line 1); "
     "rename one, or write 'init' before a seed")),
    ("A[p] = B[p] + B[p,q]",
     ("cascade:1:15: tensor 'B': it has 1 dimension in line 1, got 2 here; give it the same number of "
     "indices everywhere")),
    ("H[i+1] = H[i] * A[i]",
     ("cascade:1:1: tensor 'H': it is iterative over 'i' but has no seed, got no 'init' for it; add "
     "'init H[0] = ...'")),
    ("H[i] = H[i-1] * A[i]",
     ("cascade:1:8: tensor 'H': it is iterative over 'i' but has no seed, got 'H[i-1]' on its right "
     "side; write H[i+1,...] = ... H[i,...] ... and 'init H[0,...] = ...'")),
    ("H[i] = H[i+1] * A[i]",
     ("cascade:1:8: tensor 'H': it is iterative over 'i' but has no seed, got 'H[i+1]' on its right "
     "side; write 'init H[I,...] = ...' for a reverse iteration")),
    ("init H[0] = 1; H[i] = H[i-1]",
     ("cascade:1:23: tensor 'H': an iteration writes slot i+1 from slot i, got 'H[i]' from 'H[i-1]'; "
     "write H[i+1,...] = ... H[i,...] ...")),
    ("init H[1] = 1; H[i+1] = H[i]",
     ("cascade:1:6: tensor 'H': the seed of an iteration over 'i' stands in slot 0, got '1'; write "
     "init H[0] = ...")),
    ("init H[0] = 1; Z[i] = A[i]",
     "cascade:1:6: tensor 'H': it has a seed but no definition, got only 'init'; valid: Z"),
    ("init H[0] = 1; H[i] = A[i]",
     ("cascade:1:6: tensor 'H': it has a seed but does not iterate, got no rank + 1 on its left side; "
     "write H[i+1,...] = ..., or remove 'init'")),
    ("init H[0] = 1; init H[0] = 2; H[i+1] = H[i]",
     "cascade:1:21: tensor 'H': it has two seeds, got a second 'init'; remove one"),
    ("init H[0] = 1; H[i+2] = H[i]",
     "cascade:1:16: tensor 'H': an iterative rank steps by 1, got i+2; write H[i+1] = ... H[i] ..."),
    ("init H[0] = 1; H[i+1] = H[i+1]",
     ("cascade:1:25: tensor 'H': it is defined by itself, got H -> H; break it with an iterative rank "
     "(R[i+1,...] = ... R[i,...] ... and 'init R[0,...] = ...') or rename one of the tensors")),
    ("init H[0] = 1; H[i+1] = H[I]",
     ("cascade:1:25: tensor 'H': it is defined by itself, got H -> H; break it with an iterative rank "
     "(R[i+1,...] = ... R[i,...] ... and 'init R[0,...] = ...') or rename one of the tensors")),
    ("Z[2*p] = A[p]",
     ("cascade:1:1: tensor 'Z': the left side holds ranks, an iterative rank + 1, or an index tensor, "
     "got another expression; move it to the right side (floor // and modulo % take a rank apart)")),
    ("Z[p,p] = A[p]",
     ("cascade:1:1: rank 'p': it stands twice on the left side of 'Z', got [p, p]; write a predicate "
     "'where i == j' instead")),
    ("Z[0] = A[p]",
     ("cascade:1:1: tensor 'Z': a fixed slot stands on the left of a seed only, got one here; write "
     "'init' before the line, or a predicate such as 'where i == 0'")),
    ("Z[p] = A[p/2]",
     "cascade:1:11: tensor 'A': an index is a whole number, got 'div' in it; write //"),
    ("Z[p] = A[p+0.5]",
     "cascade:1:12: tensor 'A': an index is a whole number, got 0.5; use floor(...) or another index"),
    ("Z[p] = A[exp(p)]",
     "cascade:1:10: tensor 'A': an index is a whole number, got 'exp' in it; write floor(exp(...))"),
    ("Z[p] = A[p] * 1e999",
     "cascade:1:15: number: too large for a float64, got 1e999; write inf where infinity is meant"),
    ("Z[p] = A[p; fill=x]",
     "cascade:1:18: tensor 'A': a number is missing, got 'x'; write a literal such as 0, 1.5 or -inf"),
    ("Z[p; fill=0] = A[p]",
     "cascade:1:1: tensor 'Z': a left side takes no fill, got fill=0; put it on the reads"),
    ("I[p,j] = topk[m](S[p,m])",
     "cascade:1:10: populate 'topk': it takes one rank and makes one, got [m]; write topk[m; j](...)"),
    ("I[p] = topk[m; j](S[p,m])",
     ("cascade:1:8: rank 'j': 'topk' makes it but the left side lacks it, got p there; put 'j' on the "
     "left")),
    ("I[p,j] = topk[m; j](S[p,m]*A[j])",
     "cascade:1:10: rank 'j': 'topk' makes it but the right side reads it, got both; rename one"),
    ("I[p,j] = max[m; j](S[p,m])",
     ("cascade:1:10: reduction 'max': it makes no rank, got '; j'; only the populates do: topk, "
     "bottomk, sort, sort_descending, threshold")),
    ("I[p] = argmax[m, n] S[p,m,n]",
     "cascade:1:8: reduction 'argmax': it takes one rank, got [m, n]; reduce the others first"),
    ("(A[i], B[i]) = (C[i], D[i], E[i])",
     ("cascade:1:1: tensor 'A': the two sides differ in their number of values, got 2 on the left and "
     "3 on the right; give one value for each tensor")),
    ("(A[i], B[i]) = C[i]",
     ("cascade:1:1: tensor 'A': the two sides differ in their number of values, got 2 on the left and "
     "1 on the right; give one value for each tensor")),
    ("(A[i], B[j]) = (C[i], D[j])",
     ("cascade:1:2: tensor 'A': the tensors of a tuple have the same ranks, got none of rank 'j'; add "
     "it or split the line")),
    ("Z[p] = (A[p], B[p])",
     ("cascade:1:13: tuple: it stands where one value is wanted, got ','; give one tensor on the left "
     "for each value, as in '(A[i], B[i]) = (..., ...)'")),
    ("op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative commutative\nZ[i] = A[i]",
     ("cascade:1:1: operator 'lin': it is declared 'commutative' but is not, got a counterexample at x "
     "= (0.375, 1.25), y = (1.25, 0.8125); correct the operator or remove the word")),
    ("op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + c2) identity (1, 0)\nZ[i] = A[i]",
     ("cascade:1:42: operator 'lin': it may use its parameters only, got 'c2'; did you mean 'b2'? "
     "valid: a1, a2, b1, b2")),
    ("op lin(a1, b1; a2, b2) = (a1*a2, a2*b1) identity (1) assoc\nZ[i] = A[i]",
     ("cascade:1:54: operator 'lin': unknown property, got 'assoc'; did you mean 'associative'? valid: "
     "associative, commutative, cost, distributes_over, homomorphism, idempotent, identity, inverse, "
     "monotone, polynomial")),
    ("op lin(a1; b1) = a1*b1 identity 1\nZ[i] = lin(A[i])",
     "cascade:2:8: operator 'lin': it takes 2 operands, got 1; write lin(a1, b1)"),
    ("op lin(a1; b1) = a1*b1\nZ[i] = lin[k] A[k,i]",
     ("cascade:2:8: reduction 'lin': the operator cannot reduce, got operands of 1 and 1 values, 1 "
     "results and no identity; give it two operands as wide as its result, and 'identity'")),
    ("op exp(a1; b1) = a1*b1\nZ[i] = A[i]",
     ("cascade:1:1: operator 'exp': there is one of that name already, got a second; choose another "
     "name")),
    ("op f(a) = f(a)\nZ[i] = f(A[i])",
     ("cascade:1:11: operator 'f': it uses an operator that is not defined before it, got 'f'; did you "
     "mean 'erf'? valid: abs, atan2, ceil, clamp, cos, elu, erf, exp, exp2, expm1, floor, gelu, ... "
     "(35 in all)")),
    ("output Y\nZ[i] = A[i]",
     "cascade:1:8: output 'Y': nothing defines it, got it as an output; valid: Z"),
    ("output A\nZ[i] = A[i]",
     "cascade:1:8: output 'A': it is an input, got it as an output; valid: Z"),
    ("dtype A bf17\nZ[i] = A[i]",
     ("cascade:1:7: dtype 'A': unknown precision, got 'bf17'; did you mean 'bf16'? valid: bf16, bool, "
     "fp16, fp32, fp4_e2m1, fp64, fp8_e4m3, fp8_e5m2, int16, int32, int4, int64, ... (15 in all)")),
    ("dtype Q bf16\nZ[i] = A[i]",
     "cascade:1:7: dtype 'Q': the cascade has no such tensor, got 'Q'; valid: A, Z"),
    ("device d\nZ[i] = A[i]",
     "cascade:1:8: device 'd': the cascade has no such rank, got 'd'; valid: i"),
    ("extent I 3\nextent J 3\nZ[i] = A[i]",
     "cascade:2:8: extent 'j': the cascade has no such rank, got 'j'; valid: i"),
    ("extent I 3\nextent J 4\nZ[i] = A[i]\nY[j] = A[j]",
     ("cascade:2:8: rank 'j': it is bound to two extents, got 4 ('extent J') and 3 ('extent I'); make "
     "them equal or use two ranks")),
    ("extent I 3\nextent I 4\nZ[i] = A[i]",
     "cascade:2:8: extent 'i': it is given twice, got a second value; remove one"),
    ("extent I 3.5\nZ[i] = A[i]",
     ("cascade:1:10: extent 'i': it needs a whole number of at least 1, got '3.5'; write for example "
     "'extent I 64'")),
    ("Z[i] = A(i)",
     "cascade:1:8: tensor 'A': coordinates stand in square brackets, got '('; write 'A[...]'"),
    ("Z[i] = exp A[i]",
     "cascade:1:8: operator 'exp': its operands are missing, got 'A'; write 'exp(...)'"),
    ("Z[i] = A[i] exp",
     ("cascade:1:13: line: it should end here, got 'exp'; begin a new line, or put an operator before "
     "it")),
    ("Z[i] = A[i] where",
     ("cascade:1:18: expression: an operand is missing, got the end of the text; write a tensor, a "
     "rank, an extent, a number or an operator")),
    ("Z[i] = A[i] where i = 3",
     ("cascade:1:21: line: '=' stands where a comparison is wanted, got '='; write '==' to compare, or "
     "begin a new line")),
    ("Z[iK] = A[iK]",
     "cascade:1:3: rank 'iK': names of ranks are in lower case, got 'iK'; write 'ik'"),
    ("Z[i] = A[i] & B[i]",
     ("cascade:1:13: character: none that the notation has, got '&'; use ASCII letters, digits and + - "
     "* / // % < <= > >= == != = , ; ( ) [ ] #")),
    ("Z[i] = Å[i]",
     ("cascade:1:8: character: none that the notation has, got 'Å'; use ASCII letters, digits and + - "
     "* / // % < <= > >= == != = , ; ( ) [ ] #")),
    ("Z[i] = A[i] where max[k] B[k] > 2",
     ("cascade:1:19: reduction 'max': it stands inside an expression, got 'max[' here; a named "
     "reduction stands only at the head of the right side: give it a line of its own")),
    ("inti H[0] = 1",
     ("cascade:1:1: line: a tensor with its ranks in brackets or a keyword should begin it, got "
     "'inti'; did you mean 'init'? valid: device, dtype, extent, init, op, output")),
    ("Z[i] = A[i] + + B[i]",
     ("cascade:1:15: expression: an operand is missing, got '+'; write a tensor, a rank, an extent, a "
     "number or an operator")),
    ("Z[i] = ((((A[i]))))) ",
     "cascade:1:20: bracket ')': nothing is open here, got it without a '('; remove it or open one"),
    ("Z[i] = A[not]",
     ("cascade:1:13: expression: an operand is missing, got ']'; write a tensor, a rank, an extent, a "
     "number or an operator")),
    ("init H[0,n] = 0; (H[i+1,n], G[i,n]) = (H[i,n]*2, A[i,n]); init G[0,n] = 1",
     ("cascade:1:64: tensor 'G': it has a seed but does not iterate, got no rank + 1 on its left side; "
     "write G[i+1,...] = ..., or remove 'init'")),
    ("Z[i] = mean(A[i])",
     ("cascade:1:8: operator 'mean': it is a reduction, got it as a map; write 'mean[rank] ...' at the "
     "head of the right side")),
    ("Z[i] = sum(A[i,k])",
     ("cascade:1:8: operator 'sum': it is a reduction, got it as a map; write 'sum[rank] ...' at the "
     "head of the right side")),
    ("I[i,j] = topk[m; j](S[i,m], T[i,m])",
     ("cascade:1:27: tuple: it stands where one value is wanted, got ','; give one tensor on the left "
     "for each value, as in '(A[i], B[i]) = (..., ...)'")),
    ("(I[i,j], J[i,j]) = topk[m; j] (S[i,m], T[i,m])",
     "cascade:1:20: populate 'topk': it takes one value, got 2; split the line"),
    ("Z[i] = max[m, m] A[i,m]",
     "cascade:1:8: reduction 'max': a rank stands twice, got [m, m]; name each once"),
    ("Z[i] = max[M] A[i,m]",
     "cascade:1:8: rank 'M': names of ranks are in lower case, got 'M'; write 'm'"),
    ("init H[0,2*n] = 0; H[i+1,n] = H[i,n]",
     ("cascade:1:6: tensor 'H': a seed has plain ranks beside its slot, got another index in dimension "
     "2; name a rank there")),
    ("init H[0,0] = 0; H[i+1,n+1] = H[i,n]",
     ("cascade:1:18: tensor 'H': it iterates over two ranks, got 'i' and 'n'; make one of them an "
     "ordinary rank")),
    ("init R[0] = 0; R[i] = R[i+1]",
     ("cascade:1:6: tensor 'R': the seed of a reverse iteration over 'i' stands in slot I, got 'R[0]'; "
     "write that slot")),
    ("Z[i] = A[i; size=0]",
     "cascade:1:13: tensor 'A': only 'fill=' may follow ';', got 'size'; write 'A[...; fill=0]'"),
    ("output",
     "cascade:1:7: output: a tensor's name is missing, got the end of the text; write it here"),
    ("dtype A",
     "cascade:1:8: dtype: a precision such as bf16 is missing, got the end of the text; write it here"),
    ("dtype a bf16, Z[i] = A[i]",
     "cascade:1:13: line: it should end here, got ','; begin a new line, or put an operator before it"),
    ("op Lin(a) = a\nZ[i] = A[i]",
     "cascade:1:4: operator 'Lin': names of operators are in lower case, got 'Lin'; write 'lin'"),
    ("op lin(A) = 1\nZ[i] = A[i]",
     "cascade:1:1: operator 'lin': parameters are in lower case, got 'A'; rename it"),
    ("op lin(a, a) = a\nZ[i] = A[i]",
     "cascade:1:1: operator 'lin': a parameter stands twice, got 'a'; rename one"),
    ("op lin(a; b) = a homomorphism(add)\nZ[i] = A[i]",
     "cascade:1:1: operator 'lin': 'homomorphism' takes 2 names, got 1; write homomorphism(add, mul)"),
    ("op lin(a; b) = a distributes_over(foo)\nZ[i] = A[i]",
     ("cascade:1:1: operator 'lin': 'distributes_over' names a map that does not exist, got 'foo'; did "
     "you mean 'floor'? valid: abs, add, and, atan2, ceil, clamp, cos, div, elu, eq, erf, exp, ... "
     "(51 in all)")),
    ("op sq(a) = a*a + 1 homomorphism(mul,mul)\nZ[i] = sq(A[i])",
     ("cascade:1:1: operator 'sq': it is declared 'homomorphism(mul,mul)' but is not, got a "
     "counterexample at x = 0.375, y = 0.375; correct the operator or remove the word")),
    ("op lin(a; b) = a - b identity 0\nZ[i] = lin[k] A[i,k]",
     ("cascade:1:1: operator 'lin': it is declared 'identity' but is not, got a counterexample at x = "
     "0.375; correct the operator or remove the word")),
    ("op two(a; b) = (a, b)\nZ[i] = two(A[i], B[i])",
     ("cascade:2:8: operator 'two': it gives 2 values, got it where one is wanted; put it at the head "
     "of the right side, with 2 tensors on the left")),
    ("op two(a; b) = (a, b)\n(Y[i], Z[i]) = two(A[i])",
     "cascade:2:16: operator 'two': it takes 2 values, got 1; give a, b"),
    ("Z[i] = A[i]]",
     "cascade:1:12: bracket ']': nothing is open here, got it without a '['; remove it or open one"),
    ("Z[i] = A[1e400]",
     "cascade:1:10: number: too large for a float64, got 1e400; write inf where infinity is meant"),
    ("Z[and] = A[i]",
     "cascade:1:3: expression: an operand is missing, got 'and'; write one before it"),
    ("Z[i] = A[i] and",
     ("cascade:1:16: expression: an operand is missing, got the end of the text; write a tensor, a "
     "rank, an extent, a number or an operator")),
    ("init H[0] = 0; H[i+1] = H[i]\nH[i] = A[i]",
     ("cascade:2:1: tensor 'H': it is defined twice, got a second definition (first in line 1); rename "
     "one, or write 'init' before a seed")),
    ("A[p] = B[p]; B[p] = C[p]; C[p] = A[p] + D[p]",
     ("cascade:1:34: tensors 'A', 'C', 'B': their definitions form a cycle, got A -> C -> B -> A; "
     "break it with an iterative rank (R[i+1,...] = ... R[i,...] ... and 'init R[0,...] = ...') or "
     "rename one of the tensors")),
    ("Z[i] = A[_x]",
     "cascade:1:10: rank '_x': names of ranks are in lower case, got '_x'; write 'x'"),
    ("dtype A bf16\ndtype A fp32\nZ[i] = A[i]",
     "cascade:2:7: dtype 'A': it is given twice, got a second value; remove one"),
    ("init R[J] = 0; R[i] = R[i+1]; Z[j] = X[j]",
     ("cascade:1:6: tensor 'R': the seed of an iteration over 'i' stands in slot I, got 'J'; write "
     "init R[I] = ...")),
    ("init H[0] = 1; H[i] = H[i-1] + X[i]",
     ("cascade:1:23: tensor 'H': an iteration writes slot i+1 from slot i, got 'H[i]' from 'H[i-1]'; "
     "write H[i+1,...] = ... H[i,...] ...")),
    ("Z[p] = where(A[p], B[p])",
     "cascade:1:8: operator 'where': it takes 3 operands, got 2; write where(a, b, c)"),
    ("Z[p] = A[p] @ B[p]",
     ("cascade:1:13: character: none that the notation has, got '@'; use ASCII letters, digits and + - "
     "* / // % < <= > >= == != = , ; ( ) [ ] #")),
    ("op f(a) = a\nop f(b) = b\nZ[i] = f(A[i])",
     "cascade:2:1: operator 'f': there is one of that name already, got a second; choose another name"),
    ("Z[p] = I[p] where A[p] <= p <= ",
     ("cascade:1:32: expression: an operand is missing, got the end of the text; write a tensor, a "
     "rank, an extent, a number or an operator")),
    ("extent M 0\nZ[m] = A[m]",
     ("cascade:1:10: extent 'm': it needs a whole number of at least 1, got '0'; write for example "
     "'extent M 64'")),
    ("device\nZ[m] = A[m]",
     "cascade:1:7: device: a rank's name is missing, got the end of the line; write it here"),
    ("op f(a) = a identity (0, 1)\nZ[i] = f(A[i])",
     "cascade:1:1: operator 'f': its identity needs 1 values, got 2; give one for each result"),
    ("extent M0 4\nextent M1 2\nextent M 9\nZ[] = A[m1*M0 + m0]",
     ("cascade: rank 'm1': it is bound to two extents, got 2 and 3 = ceil(m / 4) with m = 9; leave one "
     "of m, m1, m0 out")),
    ("init Z[m] = 2",
     ("cascade: cascade: it has no Einsum, got declarations or comments only; write at least one line "
     "such as 'Z[m] = A[k,m] * B[k]'")),
]


@pytest.mark.parametrize(("text", "message"), ERRORS, ids=[repr(t)[1:41] for t, _ in ERRORS])
def test_messages(text: str, message: str) -> None:
    with pytest.raises(FusebenchError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_errors_carry_their_place_and_source() -> None:
    with pytest.raises(NotationError) as caught:
        parse("# heading\nZ[p] = A[p]\n\nY[p] = ex(Z[p])\n", source="my.cascade")
    assert (caught.value.source, caught.value.line, caught.value.column) == ("my.cascade", 4, 8)
    assert str(caught.value).startswith("my.cascade:4:8: operator 'ex': there is none of that name")


@pytest.mark.parametrize("text", [
    "Z[i] = " + "(" * 5000 + "A[i]" + ")" * 5000, "Z[i] = " + "-" * 5000 + "A[i]", "Z[i] = A" + "[B" * 5000 + "[i]" + "]" * 5000,
    "Z[i] = " + "+".join(["A[i]"] * 20000), "Z[i] = A[i] where " + "not " * 5000 + "A[i]",
    "Z[i] = A[i] where " + " and ".join(["i < 3"] * 5000), "Z[i] = " + "exp(" * 5000 + "1" + ")" * 5000],
    ids=["brackets", "signs", "gathers", "sum", "not", "and", "calls"])
def test_deep_nesting_is_an_error_and_no_recursion_error(text: str) -> None:
    with pytest.raises(NotationError, match=r"nested too deeply, got more than (64|100) levels; give"):
        parse(text)


def test_a_text_that_is_too_long_is_an_error() -> None:
    with pytest.raises(NotationError) as caught:
        parse("Z[i] = A[i]\n" * 100_000)
    assert str(caught.value) == "cascade: text: too long, got 1200000 characters; at most 1000000 are read"


def _z(body: Expr, *, reduction: Reduction | None = None, out: Access | None = None) -> Cascade:
    return Cascade((Einsum((out or Access("Z", (Coord("i"),)),), (body,), reduction),))


def _sum_of(terms: int) -> Expr:
    total: Expr = Coord("i")
    for _ in range(terms):
        total = Call("add", (total, Coord("i")))
    return total


X = Access("X", (Coord("i"),))
BUILT = [
    (lambda: _z(Num(math.nan)), "cascade: number: it is not a number, got nan; write a literal or inf"),
    (lambda: _z(Access("x", (Coord("i"),))),
     "cascade: tensor 'x': names of tensors begin with a capital letter, got 'x'; use ASCII letters, digits and _"),
    (lambda: _z(Access("X", (Coord("i"),), math.nan)),
     "cascade: tensor 'X': its fill is not a number, got nan; write a literal or inf"),
    (lambda: _z(Extent("m")), "cascade: extent 'm': names of extents begin with a capital letter, got 'm'; write 'M'"),
    (lambda: _z(Access("X", (Coord("and"),))),
     "cascade: rank 'and': the word has another meaning, got 'and'; choose another name"),
    (lambda: _z(Call("exp", ())), "cascade: operator 'exp': it takes 1 operand, got 0; write exp(a)"),
    (lambda: _z(_sum_of(150)),
     "cascade: expression: nested too deeply, got more than 100 levels; give a part of it a line of its own"),
    (lambda: Cascade((Einsum((Access("Z", ()),), ()),)),
     ("cascade: line: the two sides differ in their number of values, got 1 on the left and 0 on the right; give one value "
     "for each tensor")),
    (lambda: Cascade((Einsum((Access("Z", (Coord("i"),)),), (X,)),), declared_outputs=("X",)),
     "cascade: output 'X': it is an input, got it as an output; valid: Z"),
    (lambda: Cascade((Einsum((Access("Z", (Coord("i"),)),), (X,)),), extents=(("i", 0),)),
     "cascade: extent 'i': it needs a whole number of at least 1, got 0; give one"),
    (lambda: Cascade((Einsum((Access("Z", (Coord("i"),)),), (X,)),),
                     operators=(UserOperator("f", (("a",),), (Access("a", ()),), None, frozenset({"quick"})),)),
     ("cascade: operator 'f': unknown property, got 'quick'; valid: associative, commutative, distributes_over, "
     "homomorphism, idempotent, inverse, monotone, polynomial")),
    (lambda: _z(X, reduction=Reduction("max", ("i",))),
     "cascade: rank 'i': 'max' reduces it but the left side keeps it, got it in both; remove it from one of them"),
]


@pytest.mark.parametrize(("build", "message"), BUILT, ids=[m[9:40] for _, m in BUILT])
def test_cascades_that_are_built_are_verified_too(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(NotationError) as caught:
        build()
    assert str(caught.value) == message
