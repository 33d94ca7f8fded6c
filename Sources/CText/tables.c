#include "CText.h"

static const unsigned char decompositions[] = {
#embed "decompositions.txt"
};

static const unsigned char classes[] = {
#embed "classes.txt"
};

const unsigned char *lorikeet_decompositions(size_t *length) {
    *length = sizeof decompositions;
    return decompositions;
}

const unsigned char *lorikeet_character_classes(size_t *length) {
    *length = sizeof classes;
    return classes;
}
