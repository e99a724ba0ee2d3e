/* vec: a typed growable array on the heap.
 *
 *   VEC(int) v = {0}; vec_push(&v, 3); for (size_t i = 0; i < v.n; i++) use(v.p[i]);
 *   vec_free(&v); */
#ifndef QN_VEC_H
#define QN_VEC_H

#include "base/arena.h"

#define VEC(T)         \
    struct {           \
        T *p;          \
        size_t n, cap; \
    }

#define vec_push(v, x)                                                                       \
    do {                                                                                     \
        if ((v)->n == (v)->cap) {                                                            \
            size_t vec_cap_ = (v)->cap ? (v)->cap * 2 : 8;                                   \
            (v)->p = mem_grow((v)->p, (v)->cap * sizeof *(v)->p, vec_cap_ * sizeof *(v)->p); \
            (v)->cap = vec_cap_;                                                             \
        }                                                                                    \
        (v)->p[(v)->n++] = (x);                                                              \
    } while (0)
#define vec_free(v)            \
    do {                       \
        mem_free((v)->p);      \
        (v)->p = NULL;         \
        (v)->n = (v)->cap = 0; \
    } while (0)

#endif
