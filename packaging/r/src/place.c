// SPDX-License-Identifier: Apache-2.0
/*
 * place.c - from the whole down to the member.
 */
#include "place.h"

#include "slot.h"
#include "text.h"

static bool is_named(const struct place *place)
{
    return place->name && place->name[0];
}

/* Whether R takes it without backquotes, as far as ASCII goes. */
static bool is_plain_name(const char *name)
{
    for (const char *at = name; *at; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        bool later = *at == '.' || *at == '_' || (*at >= '0' && *at <= '9');
        if (!letter && !(later && at > name))
            return false;
    }
    return true;
}

static void add_in_r(const struct place *place, struct text *text)
{
    if (!place->above) {
        text_add_string(text, place->name);
        return;
    }
    add_in_r(place->above, text);
    if (!is_named(place)) {
        text_add_string(text, "[[");
        text_add_number(text, place->number);
        text_add_string(text, "]]");
        return;
    }
    const char *quote = is_plain_name(place->name) ? "" : "`";
    text_add_string(text, "$");
    text_add_string(text, quote);
    text_add_string(text, place->name);
    text_add_string(text, quote);
}

const char *place_in_r(const struct place *place)
{
    struct text text = {.size = 0};
    add_in_r(place, &text);
    text_add(&text, "", 1);
    return text.bytes;
}

void place_dotted(const struct place *place, struct text *text)
{
    if (!place->above) {
        text_add_string(text, place->dotted ? place->dotted : "");
        return;
    }
    place_dotted(place->above, text);
    if (text->size > 0)
        text_add_string(text, ".");
    if (is_named(place))
        text_add_string(text, place->name);
    else
        text_add_number(text, place->number);
}

static SEXP where(const struct place *place)
{
    return Rf_ScalarString(Rf_mkCharCE(place_in_r(place), CE_UTF8));
}

void place_refuse(const struct place *place, const char *why)
{
    SEXP at = PROTECT(where(place));
    raise_in_r("stop_member", Rf_list2(at, PROTECT(Rf_mkString(why))));
}

void place_refuse_type(const struct place *place, SEXP x)
{
    SEXP at = PROTECT(where(place));
    /* Without quote() R would evaluate an x that is a call. */
    SEXP quoted = PROTECT(Rf_lang2(Rf_install("quote"), x));
    raise_in_r("stop_member_type", Rf_list2(at, quoted));
}
