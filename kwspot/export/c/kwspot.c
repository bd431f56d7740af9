/* sound -> log-mel frame -> convolutions -> recurrent layers -> pooling over a clip -> posteriors
 *
 * Each stage keeps what it needs of the past and hands on what it makes, so nothing is computed twice.
 * Weights are w = q * scale, q of 8 bits, one scale for each output; what is computed with them is single precision.
 */
#include "kwspot.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct { /* w[row][i] = weights[row * n_in + i] * scales[row] */
    const int8_t *weights;
    const float *scales;
    int n_in;
} kwspot_matrix;

typedef struct { /* frames (kernel, channels) -> n_out values, every `stride` frames */
    kwspot_matrix w;
    const float *b;
    int kernel, stride, channels, n_out;
} kwspot_convolution;

typedef struct { /* of the input w, of the state r, and the biases of both */
    kwspot_matrix w, r;
    const float *b;
} kwspot_layer;

#include "kwspot_weights.h"

#define LAYERS (sizeof kwspot_layers / sizeof *kwspot_layers)
#define CONVOLUTIONS (sizeof kwspot_convolutions / sizeof *kwspot_convolutions - 1) /* the last entry is empty */
#define KEPT (((KWSPOT_WINDOW_LENGTH + KWSPOT_HOP - 1) / KWSPOT_HOP) * KWSPOT_HOP) /* samples, of whole hops */

static float sound[KEPT];
static long n_hops, n_steps;
static float inputs[KWSPOT_INPUTS];  /* what each convolution, and the stacking of frames, still sees */
static int n_inputs[CONVOLUTIONS + 1]; /* frames that it holds */
static float hidden[LAYERS][KWSPOT_HIDDEN];
#if KWSPOT_CELL == KWSPOT_LSTM
static float memory[LAYERS][KWSPOT_HIDDEN];
#endif
static float states[KWSPOT_POOLED][KWSPOT_HIDDEN]; /* of the steps of a clip, a ring */
static float posteriors[KWSPOT_N_LOGITS];

void kwspot_reset(void) {
    memset(sound, 0, sizeof sound);
    memset(n_inputs, 0, sizeof n_inputs);
    memset(hidden, 0, sizeof hidden);
#if KWSPOT_CELL == KWSPOT_LSTM
    memset(memory, 0, sizeof memory);
#endif
    n_hops = n_steps = 0;
}

static float weighed(const kwspot_matrix *m, int row, const float *x) {
    const int8_t *w = m->weights + (long)row * m->n_in;
    float sum = 0;
    for (int i = 0; i < m->n_in; i++) sum += (float)w[i] * x[i];
    return sum * m->scales[row];
}

/* Fourier transform of what is real: radix 2, in place, decimation in time. */
static void fourier(float *re, float *im) {
    for (int i = 1, j = 0; i < KWSPOT_N_FFT; i++) { /* swap by reversed bits; im is zero */
        int bit = KWSPOT_N_FFT >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) {
            float swapped = re[i];
            re[i] = re[j];
            re[j] = swapped;
        }
    }
    for (int half = 1; half < KWSPOT_N_FFT; half *= 2) {
        int stride = KWSPOT_N_FFT / 2 / half;
        for (int start = 0; start < KWSPOT_N_FFT; start += 2 * half) {
            for (int k = 0; k < half; k++) {
                float c = kwspot_cos[k * stride], s = -kwspot_cos[k * stride + KWSPOT_N_FFT / 4]; /* sin */
                int a = start + k, b = a + half;
                float x = re[b] * c + im[b] * s, y = im[b] * c - re[b] * s;
                re[b] = re[a] - x;
                im[b] = im[a] - y;
                re[a] += x;
                im[a] += y;
            }
        }
    }
}

static void log_mel(float *frame) {
    static float re[KWSPOT_N_FFT], im[KWSPOT_N_FFT];
    memset(re, 0, sizeof re);
    memset(im, 0, sizeof im);
    for (int i = 0; i < KWSPOT_WINDOW_LENGTH; i++) re[i] = sound[i] * kwspot_window[i];
    fourier(re, im);
    const float *weight = kwspot_mel_weights;
    for (int m = 0; m < KWSPOT_N_MELS; m++) {
        float power = 0;
        for (int k = kwspot_mel_bins[m][0]; k < kwspot_mel_bins[m][1]; k++) {
            power += *weight++ * (re[k] * re[k] + im[k] * im[k]);
        }
        frame[m] = (logf(power + KWSPOT_LOG_OFFSET) - kwspot_mean[m]) / kwspot_std[m];
    }
}

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

/* One step of a layer; x is its input and becomes its output. Gates in ONNX's order. */
static void recur(int layer, float *x) {
    const kwspot_layer *l = &kwspot_layers[layer];
    float *h = hidden[layer], next[KWSPOT_HIDDEN];
    enum { N = KWSPOT_HIDDEN };
#define GATE(g) (weighed(&l->w, (g) * N + i, x) + l->b[(g) * N + i])
#define BEFORE(g) (weighed(&l->r, (g) * N + i, h) + l->b[(GATES + (g)) * N + i])
    for (int i = 0; i < N; i++) {
#if KWSPOT_CELL == KWSPOT_GRU
        enum { GATES = 3 }; /* z r n */
        float z = sigmoid(GATE(0) + BEFORE(0)), r = sigmoid(GATE(1) + BEFORE(1));
        next[i] = (1 - z) * tanhf(GATE(2) + r * BEFORE(2)) + z * h[i];
#elif KWSPOT_CELL == KWSPOT_LSTM
        enum { GATES = 4 }; /* i o f c */
        float *c = &memory[layer][i];
        float in = sigmoid(GATE(0) + BEFORE(0)), out = sigmoid(GATE(1) + BEFORE(1));
        *c = sigmoid(GATE(2) + BEFORE(2)) * *c + in * tanhf(GATE(3) + BEFORE(3));
        next[i] = out * tanhf(*c);
#else
        enum { GATES = 1 };
        next[i] = tanhf(GATE(0) + BEFORE(0));
#endif
    }
    memcpy(h, next, sizeof next);
    memcpy(x, next, sizeof next);
}

static void softmax(float *x, int n) {
    float highest = x[0], sum = 0;
    for (int i = 1; i < n; i++) highest = fmaxf(highest, x[i]);
    for (int i = 0; i < n; i++) sum += x[i] = expf(x[i] - highest);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

/* What the head sees of the steps of the last clip. */
static void pool(float *pooled) {
    int n = n_steps < KWSPOT_POOLED ? (int)n_steps : KWSPOT_POOLED;
#if KWSPOT_POOLING == KWSPOT_LAST
    (void)n;
    memcpy(pooled, hidden[LAYERS - 1], sizeof hidden[0]);
#elif KWSPOT_POOLING == KWSPOT_ATTENTION
    for (int head = 0; head < KWSPOT_HEADS; head++, pooled += KWSPOT_HIDDEN) {
        float weights[KWSPOT_POOLED];
        for (int t = 0; t < n; t++) weights[t] = weighed(&kwspot_attention, head, states[t]) + kwspot_attention_bias[head];
        softmax(weights, n);
        memset(pooled, 0, sizeof states[0]);
        for (int t = 0; t < n; t++) {
            for (int i = 0; i < KWSPOT_HIDDEN; i++) pooled[i] += weights[t] * states[t][i];
        }
    }
#else
    for (int i = 0; i < KWSPOT_HIDDEN; i++) {
        float sum = 0, highest = states[0][i];
        for (int t = 0; t < n; t++) {
            sum += states[t][i];
            highest = fmaxf(highest, states[t][i]);
        }
        pooled[i] = KWSPOT_POOLING == KWSPOT_MEAN ? sum / (float)n : highest;
    }
#endif
}

static void classify(void) {
    float pooled[KWSPOT_HEADS * KWSPOT_HIDDEN];
    enum { N = KWSPOT_HEADS * KWSPOT_HIDDEN };
    pool(pooled);
#if KWSPOT_HEAD_NORM
    float mean = 0, variance = 0;
    for (int i = 0; i < N; i++) mean += pooled[i] / N;
    for (int i = 0; i < N; i++) variance += (pooled[i] - mean) * (pooled[i] - mean) / N;
    for (int i = 0; i < N; i++) {
        pooled[i] = (pooled[i] - mean) / sqrtf(variance + KWSPOT_NORM_EPS) * kwspot_norm_scale[i] + kwspot_norm_bias[i];
    }
#endif
    for (int i = 0; i < KWSPOT_N_LOGITS; i++) posteriors[i] = weighed(&kwspot_head, i, pooled) + kwspot_head_bias[i];
    if (KWSPOT_MERGED > 1) { /* classes of training that are one: the likeliest stands for them */
        float *first = posteriors + KWSPOT_MERGED_AT;
        for (int i = 1; i < KWSPOT_MERGED; i++) first[0] = fmaxf(first[0], first[i]);
        memmove(first + 1, first + KWSPOT_MERGED, (KWSPOT_N_CLASSES - KWSPOT_MERGED_AT - 1) * sizeof *first);
    }
    softmax(posteriors, KWSPOT_N_CLASSES);
}

/* Hand a frame to a stage; 1 if it made a step of the recurrence, which `x` then holds. */
static int stage(unsigned at, float *x, float *kept) {
    const kwspot_convolution *c = &kwspot_convolutions[at];
    float *held = kept;
    memcpy(held + (long)n_inputs[at] * c->channels, x, (size_t)c->channels * sizeof *x);
    if (++n_inputs[at] < c->kernel) return 0;
    if (at == CONVOLUTIONS) { /* stacked frames: the input as it is */
        memcpy(x, held, (size_t)(c->kernel * c->channels) * sizeof *x);
    } else {
        for (int i = 0; i < c->n_out; i++) x[i] = fmaxf(0, weighed(&c->w, i, held) + c->b[i]);
    }
    n_inputs[at] = c->kernel > c->stride ? c->kernel - c->stride : 0;
    memmove(held, held + (long)c->stride * c->channels, (size_t)(n_inputs[at] * c->channels) * sizeof *held);
    return at == CONVOLUTIONS ? 1 : stage(at + 1, x, kept + (long)c->kernel * c->channels);
}

const float *kwspot_feed(const int16_t *samples) {
    static float x[KWSPOT_WIDEST];
    memmove(sound, sound + KWSPOT_HOP, (KEPT - KWSPOT_HOP) * sizeof *sound);
    for (int i = 0; i < KWSPOT_HOP; i++) sound[KEPT - KWSPOT_HOP + i] = samples[i] / 32768.0f;
    if (++n_hops < KEPT / KWSPOT_HOP) return NULL;
    n_hops = KEPT / KWSPOT_HOP; /* it counts no further, for years of sound */
    log_mel(x);
    if (!stage(0, x, inputs)) return NULL;
    for (unsigned layer = 0; layer < LAYERS; layer++) recur((int)layer, x);
    memcpy(states[n_steps % KWSPOT_POOLED], x, sizeof states[0]);
    n_steps++;
    if (n_steps == 2 * KWSPOT_POOLED) n_steps = KWSPOT_POOLED;
    classify();
    return posteriors;
}
