// A linked list that is searched, reversed and merge-sorted: pointer chasing with hard-to-guess branches.
#pragma once
#include "../kernel.h"

struct node {
    struct node* next;
    int16_t key, value;
};

static struct node* merge_sort(struct node* list, int by_key) {
    if (!list || !list->next) return list;
    struct node *slow = list, *fast = list->next;
    while (fast && fast->next) slow = slow->next, fast = fast->next->next;
    struct node* right = slow->next;
    slow->next = NULL;
    struct node* left = merge_sort(list, by_key);
    right = merge_sort(right, by_key);
    struct node head, *tail = &head;
    while (left && right) {
        int a = by_key ? left->key : left->value, b = by_key ? right->key : right->value;
        struct node** from = a <= b ? &left : &right;
        tail->next = *from;
        tail = *from;
        *from = (*from)->next;
    }
    tail->next = left ? left : right;
    return head.next;
}

static struct node* reverse(struct node* list) {
    struct node* done = NULL;
    while (list) {
        struct node* next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static struct node* find(struct node* list, int value) {
    while (list && list->value != value) list = list->next;
    return list;
}

enum { list_length = 600 };

static uint64_t list_round(uint32_t* seed) {
    static struct node nodes[list_length];
    for (int i = 0; i < list_length; i++) {
        uint32_t r = next_random(seed);
        nodes[i].key = (int16_t)r;
        nodes[i].value = (int16_t)(r >> 16) & 0x3ff;
        nodes[i].next = i + 1 < list_length ? &nodes[i + 1] : NULL;
    }
    struct node* list = nodes;
    uint64_t found = 0;
    for (int i = 0; i < 16; i++) {
        struct node* hit = find(list, i * 61 & 0x3ff);
        if (hit) found += (uint16_t)hit->key;
        list = reverse(list);
    }
    list = merge_sort(list, 1);
    uint64_t sum = mix(found, (uint16_t)list->value);
    list = merge_sort(list, 0);
    for (; list; list = list->next) sum = mix(sum, (uint16_t)list->key);
    return sum;
}
