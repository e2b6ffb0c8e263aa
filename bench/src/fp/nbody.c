// The planets' orbits: double arithmetic with square roots and divisions.
#include <math.h>

#include "../kernel.h"

struct body {
    double x, y, z, vx, vy, vz, mass;
};
static struct body bodies[] = {
    {0, 0, 0, 0, 0, 0, 39.47841760435743},
    {4.84143144246472090, -1.16032004402742839, -0.103622044471123109, 0.606326392995832, 2.81198684491626, -0.02521836165988763, 0.03769367487038949},
    {8.34336671824457987, 4.12479856412430479, -0.403523417114321381, -1.01077434617879, 1.82566237123041, 0.00841576137658415, 0.011286326131968767},
    {12.8943695621391310, -15.1111514016986312, -0.223307578892655734, 1.08279100644153536, 0.868713018169608, -0.010832637401363636, 0.0017237240570597112},
    {15.3796971148509165, -25.9193146099879641, 0.179258772950371181, 0.979090732243898, 0.594698998647676, -0.034755955504078104, 0.0020336868699246304},
};
enum { count = sizeof bodies / sizeof bodies[0] };

static void advance(double dt) {
    for (int i = 0; i < count; i++) {
        struct body* a = &bodies[i];
        for (int j = i + 1; j < count; j++) {
            struct body* b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double distance2 = dx * dx + dy * dy + dz * dz;
            double pull = dt / (distance2 * sqrt(distance2));
            a->vx -= dx * b->mass * pull;
            a->vy -= dy * b->mass * pull;
            a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull;
            b->vy += dy * a->mass * pull;
            b->vz += dz * a->mass * pull;
        }
    }
    for (int i = 0; i < count; i++) {
        bodies[i].x += dt * bodies[i].vx;
        bodies[i].y += dt * bodies[i].vy;
        bodies[i].z += dt * bodies[i].vz;
    }
}

int main(int argc, char** argv) {
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 800000); i > 0; i--) advance(0.01);
    for (int i = 0; i < count; i++) sum = mix(sum, bits_of(bodies[i].x) + bits_of(bodies[i].vz));
    return report(sum);
}
