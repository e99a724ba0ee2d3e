#!/usr/bin/env python3
"""orders: twelve operators as plain C, each in its fastest loop orders, for any shape.

    bench/orders.py tests/ops/qdq.op:M=64,N=256 > /tmp/qdq.c
    build/bin/compare tests/ops/qdq.op:M=64,N=256 --hand /tmp/qdq.c

    bench/orders.py all DIR [SIZE]     DIR/qdq.small.c, DIR/qdq.large.c, DIR/qdq.net.c, ...: the shapes of SHAPES
                                       (15 minutes)

A baseline is only as good as its loop orders, and the best one depends on the shape and the machine. An
operator is a list of nests (NESTS), one an equation; every order of a nest's loops is tried with gcc and with
clang-19 (with and without -fveclib=libmvec), the other nests as they are, nest after nest; of more than MOST
orders MOST, drawn at random with the written one first. What is written is the C file with the fastest.

A nest that reduces keeps its result in a local variable if the reduce loops are innermost; otherwise in memory,
set before the reduce loops, inside the outer loops that do not reduce.
"""
import _ctypes
import ctypes
import itertools
import math
import os
import random
import re
import subprocess
import sys
import tempfile

MOST = 150
COMPILERS = {
    "gcc": ["gcc", "-std=c11"],
    "clang": ["clang-19", "-std=c11"],
    "clang-mvec": ["clang-19", "-fveclib=libmvec"],
}
FLAGS = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]


class Nest:
    """target OP= value over loops; `loops` written outermost first, those in `reduce` fold with `op`."""

    def __init__(self, name, loops, target, value, reduce="", start="0", op="+", final=None):
        self.name, self.loops, self.target, self.value = name, list(loops), target, value
        self.reduce, self.start, self.op, self.final = reduce, start, op, final

    def orders(self, rng):
        if math.factorial(len(self.loops)) <= MOST:
            return list(itertools.permutations(self.loops))
        drawn = {tuple(self.loops): None}
        while len(drawn) < MOST:
            drawn[tuple(rng.sample(self.loops, len(self.loops)))] = None
        return list(drawn)

    def fold(self, into):
        if self.op == "max":
            return f"{into} = {into} > ({self.value}) ? {into} : ({self.value});"
        return f"{into} += {self.value};"

    def text(self, order):
        head = lambda vs, at: "".join(
            f"{'    ' * (at + i)}for (int {v} = 0; {v} < {v.upper()}_; {v}++)\n" for i, v in enumerate(vs))
        if not self.reduce:
            return head(order, 1) + "    " * (len(order) + 1) + f"{self.target} = {self.value};\n"
        first = next(i for i, v in enumerate(order) if v in self.reduce)
        outer, rest = order[:first], order[first:]
        inner = [v for v in rest if v not in self.reduce]
        at, close = len(outer) + 1, len(outer)
        out = head(outer[:-1], 1) + (head(outer[-1:], at - 1)[:-1] + " {\n" if outer else "    {\n")
        at = max(at, 2)
        tab = lambda n: "    " * n
        into = self.target if inner else "sum"
        if inner:
            out += head(inner, at) + tab(at + len(inner)) + f"{into} = {self.start};\n"
        else:
            out += tab(at) + f"float sum = {self.start};\n"
        out += head(rest, at) + tab(at + len(rest)) + self.fold(into) + "\n"
        final = (self.final or "{}").format(into)
        if not inner or self.final:
            out += head(inner, at) + tab(at + len(inner)) + f"{self.target} = {final};\n"
        return out + tab(max(close, 1)) + "}\n"


# name: (dimensions as C, operands as (C type, name, elements), temporaries, helpers, nests); loops are i < I_
OPERATORS = {
    "attention": (
        "H_ = TASK_H, I_ = TASK_T, J_ = TASK_T, D_ = TASK_D, T = TASK_T, D = TASK_D",
        [("const float", "q", "H_*T*D"), ("const float", "k", "H_*T*D"), ("float", "p", "H_*T*T")],
        "static float dot[H_ * T * T], s[H_ * T * T], top[H_ * T], e[H_ * T * T], total[H_ * T];", "",
        [Nest("dot", "hijd", "dot[(h * T + i) * T + j]", "q[(h * T + i) * D + d] * k[(h * T + j) * D + d]", "d"),
         Nest("s", "hij", "s[(h * T + i) * T + j]", "j <= i ? dot[(h * T + i) * T + j] * 0.125f : -FLT_MAX"),
         Nest("top", "hij", "top[h * T + i]", "s[(h * T + i) * T + j]", "j", "-FLT_MAX", "max"),
         Nest("e", "hij", "e[(h * T + i) * T + j]", "expf(s[(h * T + i) * T + j] - top[h * T + i])"),
         Nest("total", "hij", "total[h * T + i]", "e[(h * T + i) * T + j]", "j"),
         Nest("p", "hij", "p[(h * T + i) * T + j]", "e[(h * T + i) * T + j] / total[h * T + i]")]),
    "conv1d": (
        "C_ = TASK_C, K_ = TASK_K, R_ = TASK_R, C = C_, K = K_, DIL = TASK_dilation, P_ = TASK_T - DIL * (R_ - 1)",
        [("const float", "x", "TASK_T*C"), ("const float", "w", "R_*C*K"), ("const float", "b", "K"),
         ("float", "y", "P_*K")],
        "static float acc[P_ * K];", "",
        [Nest("acc", "pkcr", "acc[p * K + k]", "x[(p + r * DIL) * C + c] * w[(r * C + c) * K + k]", "cr"),
         Nest("y", "pk", "y[p * K + k]", "acc[p * K + k] + b[k]")]),
    "focal": (
        "N_ = TASK_N, C_ = TASK_C, C = C_",
        [("const float", "x", "N_*C"), ("const int32_t", "target", "N_"), ("float", "loss", "N_*C")], "",
        "static inline float p(float x) { return 1 / (1 + expf(-x)); }\n"
        "static inline float pos(float x) { return p(x) * -1 + 1; }\n"
        "static inline float nll(float v) { return logf(fmaxf(v, 1e-8f)) * -1; }\n"
        "static inline float hit(float x) { return pos(x) * pos(x) * 0.25f * nll(p(x)); }\n"
        "static inline float miss(float x) { return p(x) * p(x) * 0.75f * nll(1 - p(x)); }\n",
        [Nest("loss", "nc", "loss[n * C + c]", "target[n] == c ? hit(x[n * C + c]) : miss(x[n * C + c])")]),
    "gelu": (
        "N_ = TASK_N", [("const float", "x", "N_"), ("float", "y", "N_")], "", "",
        [Nest("y", "n", "y[n]",
              "x[n] * 0.5f * (1 + tanhf((x[n] + x[n] * x[n] * x[n] * 0.044715f) * 0.7978845608f))")]),
    "groupnorm": (
        "N_ = TASK_N, P_ = TASK_P, C_ = TASK_C, G_ = TASK_groups, E_ = C_ / G_, C = C_, G = G_, E = E_, P = P_",
        [("const float", "x", "N_*P*C"), ("const float", "gamma", "C"), ("const float", "beta", "C"),
         ("float", "y", "N_*P*C")],
        "static float mean[N_ * G], var[N_ * G];", "",
        [Nest("mean", "npeg", "mean[n * G + g]", "x[(n * P + p) * C + g * E + e]", "pe", final="{} / (P * E)"),
         Nest("var", "pnge", "var[n * G + g]", "(x[(n * P + p) * C + g * E + e] - mean[n * G + g]) * "
              "(x[(n * P + p) * C + g * E + e] - mean[n * G + g])", "pe", final="{} / (P * E)"),
         Nest("y", "npc", "y[(n * P + p) * C + c]", "(x[(n * P + p) * C + c] - mean[n * G + c / E]) / "
              "sqrtf(var[n * G + c / E] + 1e-5f) * gamma[c] + beta[c]")]),
    "l2norm": (
        "M_ = TASK_M, N_ = TASK_N, N = N_", [("const float", "x", "M_*N"), ("float", "y", "M_*N")],
        "static float len[M_];", "",
        [Nest("len", "mn", "len[m]", "x[m * N + n] * x[m * N + n]", "n", final="fmaxf(sqrtf({}), 1e-12f)"),
         Nest("y", "mn", "y[m * N + n]", "x[m * N + n] / len[m]")]),
    "pool3d": (
        "R = TASK_R, I_ = R, J_ = R, K_ = R, H = TASK_H, W = TASK_W, C = TASK_C, C_ = C, "
        "D_ = (TASK_D - R) / 2 + 1, H_ = (H - R) / 2 + 1, W_ = (W - R) / 2 + 1",
        [("const float", "x", "TASK_D*H*W*C"), ("float", "y", "D_*H_*W_*C")], "", "",
        [Nest("y", "idhjwkc", "y[((d * H_ + h) * W_ + w) * C + c]",
              "x[(((d * 2 + i) * H + h * 2 + j) * W + w * 2 + k) * C + c]", "ijk", "-FLT_MAX", "max")]),
    "qdq": (
        "M_ = TASK_M, N_ = TASK_N, N = N_",
        [("const float", "x", "M_*N"), ("int8_t", "q", "M_*N"), ("float", "scale", "M_"), ("float", "y", "M_*N")],
        "static float s[M_];", "",
        [Nest("s", "mn", "s[m]", "fabsf(x[m * N + n])", "n", op="max", final="fmaxf({}, 1e-20f) / 127"),
         Nest("scale", "m", "scale[m]", "s[m]"),
         Nest("q", "mn", "q[m * N + n]", "(int8_t)fminf(fmaxf(rintf(x[m * N + n] / s[m]), -128), 127)"),
         Nest("y", "mn", "y[m * N + n]", "(float)q[m * N + n] * s[m]")]),
    "rmsnorm": (
        "M_ = TASK_M, N_ = TASK_N, N = N_",
        [("const float", "x", "M_*N"), ("const float", "g", "N"), ("float", "y", "M_*N")],
        "static float square[M_];", "",
        [Nest("square", "mn", "square[m]", "x[m * N + n] * x[m * N + n]", "n", final="{} / N"),
         Nest("y", "mn", "y[m * N + n]", "x[m * N + n] / sqrtf(square[m] + 1e-6f) * g[n]")]),
    "rope": (
        "T_ = TASK_T, H_ = TASK_H, D = TASK_D, H = H_, D_ = D / 2, L = D_",
        [("const float", "x", "T_*H*D"), ("const float", "angle", "T_*L"), ("float", "y", "T_*H*D")], "", "",
        [Nest("y low", "tdh", "y[(t * H + h) * D + d]", "x[(t * H + h) * D + d] * cosf(angle[t * L + d]) - "
              "x[(t * H + h) * D + d + L] * sinf(angle[t * L + d])"),
         Nest("y high", "tdh", "y[(t * H + h) * D + L + d]", "x[(t * H + h) * D + d + L] * cosf(angle[t * L + d]) + "
              "x[(t * H + h) * D + d] * sinf(angle[t * L + d])")]),
    "swiglu": (
        "M_ = TASK_M, K_ = TASK_K, N_ = TASK_N, K = K_, N = N_",
        [("const float", "x", "M_*K"), ("const float", "w", "K*N"), ("const float", "v", "K*N"), ("float", "y", "M_*N")],
        "static float a[M_ * N], b[M_ * N];", "",
        [Nest("a", "mkn", "a[m * N + n]", "x[m * K + k] * w[k * N + n]", "k"),
         Nest("b", "mkn", "b[m * N + n]", "x[m * K + k] * v[k * N + n]", "k"),
         Nest("y", "mn", "y[m * N + n]", "a[m * N + n] * (1 / (1 + expf(-a[m * N + n]))) * b[m * N + n]")]),
    "xcorr": (
        "H = TASK_H, W = TASK_W, C = TASK_C, R_ = TASK_R, S_ = TASK_S, S = S_, C_ = C, "
        "P_ = H - R_ + 1, Q_ = W - S_ + 1, Q = Q_",
        [("const float", "x", "H*W*C"), ("const float", "z", "R_*S*C"), ("float", "y", "P_*Q*C")], "", "",
        [Nest("y", "qscpr", "y[(p * Q + q) * C + c]", "x[((p + r) * W + q + s) * C + c] * z[(r * S + s) * C + c]",
              "rs")]),
}

# Of each operator one shape that stays in L2, one (but of those that compute much) that does not, and one of a
# network that uses it: written down before anything was measured with them.
SIZES = ("small", "large", "net")
SHAPES = {
    "attention": ("D=32,H=4,T=100", "D=64,H=8,T=256", "D=64,H=12,T=1024"),  # GPT-2, its whole context
    "conv1d": ("C=32,K=48,R=5,T=500,dilation=3", "C=64,K=64,R=3,T=1000,dilation=2",
               "C=128,K=128,R=7,T=2066,dilation=3"),  # HiFi-GAN V1, second stage, a segment of 8192
    "focal": ("C=21,N=1000", "C=80,N=5000", "C=80,N=14400"),  # RetinaNet, level P4 of 640x640
    "gelu": ("N=10000", "N=151296", "N=605184"),  # ViT-B/16: 197 x 3072
    "groupnorm": ("C=32,N=1,P=784,groups=8", "C=64,N=2,P=3136,groups=8",
                  "C=320,N=1,P=4096,groups=32"),  # U-Net of Stable Diffusion 1.5, first level
    "l2norm": ("M=100,N=128", "M=1000,N=256", "M=1444,N=512"),  # SSD300, conv4_3: 38 x 38
    "pool3d": ("C=16,D=16,H=28,R=3,W=28", "C=32,D=32,H=56,R=3,W=56",
               "C=480,D=32,H=28,R=3,W=28"),  # I3D, MaxPool3d_4a
    "qdq": ("M=64,N=256", "M=384,N=1000", "M=128,N=768"),  # BERT-base, activations of 128 tokens
    "rmsnorm": ("M=32,N=512", "M=384,N=768", "M=128,N=4096"),  # Llama 7B
    "rope": ("D=64,H=8,T=64", "D=64,H=12,T=512", "D=128,H=32,T=128"),  # Llama 7B
    "swiglu": ("K=128,M=32,N=320", "K=256,M=64,N=512", "K=2048,M=64,N=5632"),  # TinyLlama 1.1B
    "xcorr": ("C=96,H=25,R=5,S=5,W=25", "C=256,H=31,R=7,S=7,W=31", "C=256,H=29,R=5,S=5,W=29"),  # SiamRPN++
}

TIMER = r"""
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
double fastest(void (*f)(void *const *), void *const *buf, double enough, double hopeless)
{
    double best = 1e30, begin = now();
    f(buf);
    if (now() - begin > hopeless) return now() - begin;
    begin = now();
    for (int round = 0; round < 5 || now() - begin < enough; round++) {
        int n = 0;
        double t = now(), d;
        do { f(buf); n++; } while ((d = now() - t) < 300);
        best = d / n < best ? d / n : best;
        if (round >= 200) break;
    }
    return best;
}
"""


def source(name, task, order, note=""):
    dims, operands, temps, helpers, nests = OPERATORS[name]
    args = ", ".join(f"{t} *restrict {n}" for t, n, _ in operands)
    body = "".join(n.text(order[n.name]) for n in nests)
    call = ", ".join(f"buf[{i}]" for i in range(len(operands)))
    temps = f"    {temps}\n" if temps else ""
    return (f"/* task: {task} */\n{note}#include <float.h>\n#include <math.h>\n#include <stdint.h>\n"
            f"enum {{ {dims} }};\n{helpers}static inline void plain({args})\n{{\n{temps}{body}}}\n"
            f"void hand(void *const *buf) {{ plain({call}); }}\n")


class Bench:
    def __init__(self, name, task, keys, folder):
        self.name, self.task, self.folder, self.n = name, task, folder, 0
        self.macros = [f"-DTASK_{k}={v}" for k, v in keys.items()]
        self.timer = self.load(TIMER, ["gcc", "-O2", "-shared", "-fPIC"], [])
        self.timer.fastest.restype = ctypes.c_double
        self.timer.fastest.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double, ctypes.c_double]
        self.buffers()

    def load(self, text, command, macros):
        self.n += 1
        base = os.path.join(self.folder, f"k{self.n}")
        with open(base + ".c", "w") as f:
            f.write(text)
        subprocess.run(command + macros + ["-o", base + ".so", base + ".c", "-lm"], check=True)
        lib = ctypes.CDLL(base + ".so")
        os.remove(base + ".so")
        return lib

    def buffers(self):
        dims, operands = OPERATORS[self.name][:2]
        sizes = "".join(f"long size{i}(void) {{ return (long){e.replace('_*', '_ *')}; }}\n"
                        for i, (_, _, e) in enumerate(operands))
        lib = self.load(f"enum {{ {dims} }};\n{sizes}", ["gcc", "-shared", "-fPIC"], self.macros)
        rng, self.keep = random.Random(1), []
        for i, (kind, _, _) in enumerate(operands):
            n = getattr(lib, f"size{i}")()
            if "int32" in kind:
                data = (ctypes.c_int32 * n)(*[rng.randrange(80) for _ in range(n)])
            elif "int8" in kind:
                data = (ctypes.c_int8 * n)()
            else:
                some = [rng.uniform(-2, 2) for _ in range(4096)]
                data = (ctypes.c_float * n)(*[some[j % 4096] for j in range(n)] if "const" in kind else [])
            self.keep.append(data)
        self.buf = (ctypes.c_void_p * len(operands))(*[ctypes.addressof(d) for d in self.keep])

    def time(self, order, compilers, enough, fastest=1e30):
        """Microseconds and compiler; orders that take ten times the fastest (and 3 ms) are run once."""
        best = (1e30, "")
        for cc in compilers:
            lib = self.load(source(self.name, self.task, order), COMPILERS[cc] + FLAGS, self.macros)
            us = self.timer.fastest(ctypes.cast(lib.hand, ctypes.c_void_p), self.buf, enough,
                                    max(3000, 10 * min(fastest, best[0])))
            _ctypes.dlclose(lib._handle)  # with its temporaries, which are large
            best = min(best, (us, cc))
        return best


def search(bench):
    nests = OPERATORS[bench.name][4]
    order, rng, said = {n.name: tuple(n.loops) for n in nests}, random.Random(2), []
    calls = "expf(" in source(bench.name, "", order) or "f(angle" in source(bench.name, "", order)
    compilers = list(COMPILERS) if calls else ["gcc", "clang"]
    for n in nests:
        tried = []
        for o in n.orders(rng) if len(n.loops) > 1 else []:
            tried.append((*bench.time({**order, n.name: o}, compilers, 3000, min(tried)[0] if tried else 1e30), o))
        if not tried:
            continue
        again = [(*bench.time({**order, n.name: o}, compilers, 30000), o) for _, _, o in sorted(tried)[:4]]
        order[n.name] = min(again)[2]
        best = ", ".join(f"{''.join(o)} {us:.4g}" for us, _, o in sorted(again)[:2])
        said.append((f"{n.name} {len(tried)}", f"{n.name} {best}"))
    us, cc = bench.time(order, compilers, 30000)
    note = f"/* orders tried (outermost first): {', '.join(a for a, _ in said) or 'one, there is one loop'};\n"
    note += f" * us of the whole, best compiler: {'; '.join(b for _, b in said)}{'; ' if said else ''}all {us:.4g} ({cc}) */\n"
    return source(bench.name, bench.task, order, note)


def plain(task):
    m = re.fullmatch(r".*?(\w+)\.op:(.*)", task)
    if not m or m[1] not in OPERATORS:
        sys.exit(f"orders: {task}: not tests/ops/OP.op:KEY=N,.. with OP one of {', '.join(OPERATORS)}")
    keys = dict(k.split("=") for k in m[2].split(","))
    with tempfile.TemporaryDirectory() as folder:
        return search(Bench(m[1], task, keys, folder))


def main():
    if len(sys.argv) == 2:
        sys.stdout.write(plain(sys.argv[1]))
    elif len(sys.argv) in (3, 4) and sys.argv[1] == "all":
        os.makedirs(sys.argv[2], exist_ok=True)
        for name, shapes in SHAPES.items():
            for size, keys in zip(SIZES, shapes):
                if size not in (sys.argv[3:] or SIZES):
                    continue
                with open(os.path.join(sys.argv[2], f"{name}.{size}.c"), "w") as f:
                    f.write(plain(f"tests/ops/{name}.op:{keys}"))
    else:
        sys.exit("usage: bench/orders.py TASK, or bench/orders.py all DIR [SIZE]")


main()
