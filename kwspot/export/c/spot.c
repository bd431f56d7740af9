/* Print the words in raw sound on standard input, with the seconds at which they were known:
 *
 *     cc -O2 spot.c kwspot.c -lm -o spot
 *     arecord -q -t raw -f S16_LE -c 1 -r 16000 | ./spot 0.9
 *
 * A word counts where the mean posterior of a fifth of a second reaches the threshold, once until it falls below.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kwspot.h"

enum { SMOOTHED = 1 + KWSPOT_SAMPLE_RATE / 5 / (KWSPOT_STEP * KWSPOT_HOP) }; /* steps */

static int is_keyword(int i) { return strcmp(kwspot_labels[i], "unknown") && strcmp(kwspot_labels[i], "silence"); }

int main(int argc, char **argv) {
    double threshold = argc > 1 ? atof(argv[1]) : 0.8;
    static float recent[SMOOTHED][KWSPOT_N_CLASSES];
    int16_t samples[KWSPOT_HOP];
    int row = 0, last = -1;
    kwspot_reset();
    for (long n = 1; fread(samples, sizeof samples, 1, stdin) == 1; n++) {
        const float *posteriors = kwspot_feed(samples);
        if (!posteriors) continue;
        int best = 0;
        float highest = 0;
        for (int i = 0; i < KWSPOT_N_CLASSES; i++) {
            float sum = 0;
            recent[row][i] = posteriors[i];
            for (int t = 0; t < SMOOTHED; t++) sum += recent[t][i];
            if (sum > highest) highest = sum, best = i;
        }
        row = (row + 1) % SMOOTHED;
        int found = highest / SMOOTHED >= threshold && is_keyword(best) ? best : -1;
        if (found >= 0 && found != last) {
            printf("%.2f\t%s\t%.2f\n", (double)n * KWSPOT_HOP / KWSPOT_SAMPLE_RATE, kwspot_labels[found], highest / SMOOTHED);
            fflush(stdout);
        }
        last = found;
    }
    return 0;
}
