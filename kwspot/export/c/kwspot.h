/* A keyword spotter in C99: sound in, a hop at a time, posteriors of its words out.
 *
 * Everything is static, nothing is allocated: one spotter a program. It needs <math.h> and <string.h>, and computes in
 * single precision, so a processor with a floating-point unit; the weights stay in flash, 8 bits each.
 * The sizes in kwspot_model.h and the weights in kwspot_weights.h are those of one model.
 */
#ifndef KWSPOT_H
#define KWSPOT_H

#include <stdint.h>
#include "kwspot_model.h"

/* Names of the classes, in the order of the posteriors. */
extern const char *const kwspot_labels[KWSPOT_N_CLASSES];

/* Forget all earlier sound. */
void kwspot_reset(void);

/* Take the next KWSPOT_HOP samples: mono, KWSPOT_SAMPLE_RATE Hz, 16 bits. After every step, of KWSPOT_STEP hops, return
 * the KWSPOT_N_CLASSES posteriors of the last KWSPOT_CLIP samples, valid until the next call; otherwise NULL. */
const float *kwspot_feed(const int16_t *samples);

#endif
