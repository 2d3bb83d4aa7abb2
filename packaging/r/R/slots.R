# SPDX-License-Identifier: Apache-2.0
# The slots of the mount, as a data frame.

# A slot's metadata.txt as a named character vector; NULL if the slot vanished meanwhile or another user does not let us read it.
slot_fields <- function(path) {
    lines <- tryCatch(suppressWarnings(readLines(file.path(path, "metadata.txt"), warn = FALSE)),
                      error = function(condition) NULL)
    if (is.null(lines))
        return(NULL)
    keys <- sub("=.*", "", lines)
    first <- !duplicated(keys)
    structure(sub("^[^=]*=", "", lines)[first], names = keys[first])
}

pyrmap_slots <- function(mount = NULL) {
    session_check()
    place <- if (is.null(mount)) default_mount() else mount
    if (is.null(mount) && !is_mount(place) && !is.null(session$private))
        place <- session$private$path
    if (!is.null(mount))
        root_for(mount)
    paths <- if (is_mount(place)) list.dirs(place, recursive = FALSE) else character()
    paths <- paths[basename(paths) != ".pyrmap"]
    fields <- lapply(paths, slot_fields)
    readable <- !vapply(fields, is.null, NA)
    fields <- fields[readable]
    paths <- paths[readable]
    text <- function(key) {
        value <- vapply(fields, function(field) field[key], "", USE.NAMES = FALSE)
        ifelse(nzchar(value), value, NA_character_)
    }
    number <- function(key) {
        value <- as.numeric(text(key))
        ifelse(value < 0, NA_real_, value)
    }
    changed <- file.mtime(file.path(paths, "metadata.bin"))
    data.frame(slot = basename(paths), state = text("state"), round = number("round"), dtype = text("dtype"),
               length = number("input_length"), result_dtype = text("result_dtype"),
               result_length = number("result_length"), owner = as.integer(text("owner")),
               worker = as.integer(text("worker")), source = text("source"),
               age = as.numeric(difftime(Sys.time(), changed, units = "secs")))
}
