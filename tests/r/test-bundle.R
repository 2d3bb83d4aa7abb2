# SPDX-License-Identifier: Apache-2.0
# Bundles: what the writer makes the reader makes R's objects of, and nothing that somebody else wrote is believed unseen.

written <- function(x, na = "nan") .Call(pyrmap:::C_bundle_bytes, x, na)
read_back <- function(bytes, special = 3L) .Call(pyrmap:::C_bundle_object, bytes, special)

# A safetensors file. header: text, or a list of tensors with offsets, for which the JSON is made.
segment <- function(header, body = raw(), length = nchar(header, "bytes")) {
    c(writeBin(as.integer(c(length %% 2^32, length %/% 2^32)), raw(), endian = "little"), charToRaw(header), body)
}
with_tree <- function(root, tensors = "", body = raw()) {
    tree <- gsub("\"", "\\\"", gsub("\\", "\\\\", paste0("{\"version\":1,\"root\":", root, "}"), fixed = TRUE), fixed = TRUE)
    segment(paste0("{\"__metadata__\":{\"pyrmap\":\"", tree, "\"}", if (nzchar(tensors)) ",", tensors, "}"), body)
}
tensor <- function(name, dtype, shape, begin, end) {
    sprintf("\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%.0f,%.0f]}", name, dtype, shape, begin, end)
}
doubles <- function(x) writeBin(as.double(x), raw())

random_vector <- function(length) {
    some <- function(values) sample(values, length, TRUE)
    x <- switch(sample(12, 1),
        some(c(rnorm(5), NA, NaN, Inf, -0)), some(c(1:5, NA)), some(c(1L, .Machine$integer.max)), some(c(TRUE, FALSE)),
        some(c(TRUE, NA)), as.raw(some(0:255)), complex(real = some(c(1.5, NA)), imaginary = rnorm(length)),
        some(c("a", "", "\u00e4\u20ac\U1F600", NA, "quote\"\\\n")), factor(some(c("b", "a", NA)), levels = c("b", "a", "never")),
        factor(some(c("low", "high")), levels = c("low", "high"), ordered = TRUE), structure(some(c(0, 19000, NA)), class = "Date"),
        as.POSIXct(some(c(0.25, 1.7e9, NA)), origin = "1970-01-01", tz = sample(c("UTC", "Europe/Berlin"), 1)))
    if (runif(1) < 0.3 && !is.factor(x))
        names(x) <- make.unique(some(letters))
    if (runif(1) < 0.2 && length > 0 && !is.object(x)) {
        x <- unname(x)
        dim(x) <- c(length, 1, 1)[seq_len(sample(3, 1))]
        if (runif(1) < 0.5)
            dimnames(x) <- c(list(paste0("r", seq_len(length))), list(A = "c", NULL)[seq_len(length(dim(x)) - 1)])
    }
    x
}
random_frame <- function(rows) {
    columns <- lapply(seq_len(sample(0:5, 1)), function(i) unname(drop(random_vector(rows))))
    columns <- lapply(columns, function(column) {
        dim(column) <- NULL
        column
    })
    names(columns) <- make.unique(rep("column", length(columns)))
    structure(columns, class = "data.frame", row.names = if (runif(1) < 0.3) paste0("row ", seq_len(rows), recycle0 = TRUE) else seq_len(rows))
}
random_value <- function(depth = 0) {
    kind <- runif(1)
    if (kind < 0.25 && depth < 4) {
        x <- lapply(seq_len(sample(0:4, 1)), function(i) random_value(depth + 1))
        if (runif(1) < 0.7)
            names(x) <- sample(c("a", "b.c", "", "\u00e4", "a \"b\"", "__metadata__"), length(x), TRUE)
        return(x)
    }
    if (kind < 0.4)
        return(random_frame(sample(c(0, 1, 20), 1)))
    if (kind < 0.45)
        return(NULL)
    random_vector(sample(c(0, 1, 2, 50), 1))
}

test_that("random lists, frames and vectors come back bit for bit", {
    set.seed(4)
    for (i in 1:400) {
        x <- random_value()
        back <- read_back(written(x))
        expect_true(identical(x, back, num.eq = FALSE, single.NA = FALSE), info = paste(deparse(x), collapse = "\n"))
    }
})

test_that("special kinds of vectors come back", {
    same <- function(x, ...) expect_identical(read_back(written(x), ...), x)
    same(list(1:1000, seq(1, 2, 0.125), as.character(1:50)))
    same(as.difftime(c(1.5, NA), units = "hours"))
    same(structure(list(a = 1:3), class = c("tbl_df", "tbl", "data.frame"), row.names = 1:3))
    same(iris[51:60, ])
    same(mtcars)
    same(matrix(integer(), 0, 2))
    same(structure(list(x = 1:2, inner = data.frame(a = c("x", "y"))), class = "data.frame", row.names = 1:2))
    same(structure(list(), names = character(), class = "data.frame", row.names = .set_row_names(.Machine$integer.max)))
    same(structure(list(a = c(0.5, 2)), class = "data.frame", row.names = c(NA, 2L)))
    same(data.frame(a = 1:3, row.names = c(1L, 3L, 2L)))
    same(data.frame(a = integer()))
    same(structure(1:3, class = "Date"))
    same(array(c("a", "b"), c(1, 2, 1, 1, 1, 1)))
    same(list(list(list(list(list(list(list(list(list(list(list(list(list(1))))))))))))))
    latin <- iconv("\u00e4", "UTF-8", "latin1")
    expect_identical(enc2utf8(latin), read_back(written(latin)))
    expect_identical(Encoding(read_back(written(latin))), "UTF-8")
    skip_if_not_installed("bit64")
    same(bit64::as.integer64(c(NA, "9007199254740993")))
    expect_identical(read_back(written(bit64::as.integer64(1:2)), 0L), c(1, 2))
    skip_if_not_installed("Matrix")
    same(list(m = Matrix::sparseMatrix(i = c(1, 3), j = c(2, 2), x = c(5, 7))))
})

test_that("what cannot be written says which member, and why", {
    refused <- function(x, message, na = "nan") {
        expect_match(conditionMessage(expect_error(written(x, na), class = "pyrmap_type_error")), message, fixed = TRUE)
    }
    nest <- function(x, times) if (times) list(nest(x, times - 1)) else x
    refused(nest(1, 15), "lies too deep")
    refused(list(a = list(c("fine", "\xff"))), "data$a[[1]][[2]] is no valid text")
    bytes <- "\xe4"
    Encoding(bytes) <- "bytes"
    expect_error(written(bytes))
    refused(list(n = c(1L, NA)), "data$n has NA at [2]", "error")
    refused(structure(list(1), names = strrep("n", 2^20)), "the 1 MiB of a bundle's header")
    refused(as.list(1:10001), "data[[10001]] is one vector too many")
    expect_identical(read_back(written(list(n = c(1L, NA)), "keep")), list(n = c(1L, NA)))
})

test_that("tensors have the names of members, and other readers can tell what lies where", {
    skip_if_not_installed("jsonlite")
    bytes <- written(list(a = 1, b = list(2L, c = TRUE), a = "x", iris = iris[1:2, 4:5]))
    length <- sum(as.integer(bytes[1:3]) * 256^(0:2))
    expect_identical((8 + length) %% 64, 0)
    header <- jsonlite::fromJSON(rawToChar(bytes[8 + seq_len(length)]), simplifyVector = FALSE)
    tree <- jsonlite::fromJSON(header$`__metadata__`$pyrmap, simplifyVector = FALSE)
    expect_identical(tree$version, 1L)
    header$`__metadata__` <- NULL
    expect_identical(names(header), c("a", "a.offsets", "iris.Petal.Width", "iris.Species.levels.offsets", "b.1", "iris.Species",
                                      "b.c", "a_2", "iris.Species.levels"))
    ends <- vapply(header, function(entry) unlist(entry$data_offsets), c(1, 1))
    expect_identical(unname(ends[1, ]), c(0, unname(ends[2, -ncol(ends)])))
    expect_identical(unname(ends[2, ncol(ends)]), length(bytes) - 8 - length)
    size <- c(F64 = 8, I64 = 8, I32 = 4, U8 = 1, BOOL = 1)[vapply(header, `[[`, "", "dtype")]
    expect_identical(unname(ends[1, ] %% size), rep(0, length(size)))
    wide <- jsonlite::fromJSON(sub("[^}]*$", "", rawToChar(Filter(function(byte) byte > 0, written(matrix(1:6 + 0i, 2))[-(1:8)]))))
    expect_identical(wide$x$shape, c(3L, 2L, 2L))
})

test_that("a plain safetensors file is a list of its arrays, in R's order", {
    body <- c(doubles(1:6), doubles(7), as.raw(1:2))
    bytes <- segment(paste0("{", tensor("m", "F64", "2,3", 0, 48), ",", tensor("s", "F64", "", 48, 56), ",",
                            tensor("u", "U8", "2", 56, 58), "}"), body)
    expect_identical(read_back(bytes, 0L), list(m = matrix(as.double(1:6), 2, byrow = TRUE), s = 7, u = 1:2))
    half <- segment(paste0("{", tensor("h", "F16", "5", 0, 10), "}"), writeBin(c(0x3c00L, 0xc000L, 0x0001L, 0x7c00L, 0x7bffL), raw(), size = 2))
    expect_identical(read_back(half)$h, c(1, -2, 2^-24, Inf, 65504))
    small <- segment(paste0("{", tensor("a", "I16", "1", 0, 2), ",", tensor("b", "I8", "1", 2, 3), ",", tensor("c", "BOOL", "2", 3, 5),
                            ",", tensor("d", "U16", "1", 5, 7), ",", tensor("e", "U32", "1", 7, 11), ",",
                            tensor("f", "I32", "2,1,1,1,2", 11, 27), "}"),
                     c(as.raw(c(0xfe, 0xff, 0xff, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)), writeBin(1:4, raw())))
    expect_identical(read_back(small), list(a = -2L, b = -1L, c = c(FALSE, TRUE), d = 65535L, e = 2^32 - 1,
                                            f = array(c(1L, 3L, 2L, 4L), c(2, 1, 1, 1, 2))))
    expect_error(read_back(segment(paste0("{", tensor("big", "U64", "1", 0, 8), "}"), as.raw(c(1, 0, 0, 0, 0, 0, 0x20, 0)))),
                 "result\\$big has 9007199254740993 as element 1, which is not exact", class = "pyrmap_loss")
    expect_error(read_back(segment(paste0("{", tensor("big", "I64", "1", 0, 8), "}"), as.raw(c(1, 0, 0, 0, 0, 0, 0x20, 0))), 0L),
                 "result\\$big has 9007199254740993 as element 1", class = "pyrmap_loss")
})

test_that("headers that are not what they should be are refused", {
    refused <- function(bytes, why) {
        expect_match(conditionMessage(expect_error(read_back(bytes), class = "pyrmap_damaged_bundle", info = why)), why, info = why)
    }
    d1 <- tensor("a", "F64", "1", 0, 8)
    refused(raw(), "there are fewer")
    refused(raw(7), "there are fewer")
    refused(segment("{}", length = 3), "longer than the file")
    refused(segment("{}", length = 2^40), "more than 1 MiB")
    refused(segment(paste0("{}", strrep(" ", 2^20))), "more than 1 MiB")
    refused(segment("{} x"), "more behind its end")
    refused(segment("[]"), "no object")
    refused(segment(""), "a value is missing")
    refused(segment("{\"a\":1}"), "not described")
    refused(segment(paste0("{", d1, ",", d1, "}"), doubles(1)), "overlaps")
    twice <- tensor("a", "F64", "0", 0, 0)
    refused(segment(paste0("{", twice, ",", twice, "}")), "there twice")
    refused(segment(paste0("{", d1, ",", tensor("b", "F64", "1", 4, 12), "}"), raw(12)), "overlaps another")
    refused(segment(paste0("{", d1, ",", tensor("b", "F64", "1", 16, 24), "}"), raw(24)), "a hole")
    refused(segment(paste0("{", tensor("a", "F64", "1", 8, 16), "}"), raw(16)), "a hole")
    refused(segment(paste0("{", d1, "}"), raw(9)), "more bytes than its tensors")
    refused(segment(paste0("{", d1, "}"), raw(7)), "does not lie in")
    refused(segment(paste0("{", tensor("a", "F64", "2", 0, 8), "}"), raw(8)), "other offsets than its shape")
    refused(segment(paste0("{", tensor("a", "F64", "4611686018427387904,4", 0, 0), "}")), "has no shape")
    refused(segment(paste0("{", tensor("a", "F64", "99999999999999999999", 0, 0), "}")), "has no shape")
    refused(segment(paste0("{", tensor("a", "F64", "-1", 0, 8), "}"), raw(8)), "has no shape")
    refused(segment(paste0("{", tensor("a", "F64", "1.0", 0, 8), "}"), raw(8)), "has no shape")
    refused(segment(paste0("{", tensor("a", "F63", "1", 0, 8), "}"), raw(8)), "no known dtype")
    refused(segment(paste0("{", tensor("a", "F64", "1", 8, 0), "}"), raw(8)), "no data_offsets")
    refused(segment(paste0("{", paste(tensor(paste0("t", 1:10001), "U8", "0", 0, 0), collapse = ","), "}")), "more than 10000")
    refused(segment(paste0("{\"a\":", strrep("[", 40), strrep("]", 40), "}")), "too deep")
    refused(segment("{\"a\":\"\xff\"}"), "not UTF-8")
    refused(segment("{\"a\":\"\xed\xa0\x80\"}"), "not UTF-8")
    refused(segment("{\"a\":\"\xc0\x80\"}"), "not UTF-8")
    refused(segment(paste0("{", tensor("a\\u0000", "F64", "0", 0, 0), "}")), "a name with a NUL")
    refused(segment("{\"a\":\"\n\"}"), "control character")
    for (text in c("{\"a\":01}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":tru}", "{a:1}", "{\"a\"1}", "{\"a\":1,}",
                   "{\"a\":[1,]}", "{\"a\":\"x}", "{\"a\":\"\\x\"}", "{", "nul", "\"\\"))
        expect_error(read_back(segment(text)), class = "pyrmap_damaged_bundle", info = text)
})

test_that("trees that do not fit their tensors are refused", {
    refused <- function(root, tensors, body, why) {
        expect_match(conditionMessage(expect_error(read_back(with_tree(root, tensors, body)), class = "pyrmap_damaged_bundle", info = why)),
                     why, info = why)
    }
    a <- tensor("a", "F64", "2", 0, 16)
    node <- "{\"kind\":\"array\",\"type\":\"double\",\"tensor\":\"a\"}"
    expect_identical(read_back(with_tree(node, a, doubles(1:2))), c(1, 2))
    refused("7", a, doubles(1:2), "no root")
    refused("{\"kind\":\"list\",\"items\":[7]}", a, doubles(1:2), "not described")
    refused("{\"kind\":\"null\",\"kind\":\"list\"}", a, doubles(1:2), "a key twice")
    refused(paste0("{", paste0("\"k", 1:40, "\":0", collapse = ","), "}"), a, doubles(1:2), "too many keys")
    refused("{\"kind\":\"call\",\"x\":null}", a, doubles(1:2), "of a kind")
    refused("{\"kind\":\"array\",\"type\":\"quaternion\",\"tensor\":\"a\"}", a, doubles(1:2), "of a type")
    refused("{\"kind\":\"array\",\"type\":\"integer\",\"tensor\":\"a\"}", a, doubles(1:2), "does not fit its type")
    refused("{\"kind\":\"array\",\"type\":\"double\",\"tensor\":\"b\"}", a, doubles(1:2), "names no tensor")
    refused("{\"kind\":\"array\",\"type\":\"double\"}", a, doubles(1:2), "names no tensor")
    refused("{\"kind\":\"array\",\"type\":\"double\",\"tensor\":3}", a, doubles(1:2), "names no tensor")
    refused(sprintf("{\"kind\":\"list\",\"items\":[%s,%s]}", node, node), a, doubles(1:2), "two members")
    refused(sprintf("{\"kind\":\"list\",\"items\":[%s],\"names\":[]}", node), a, doubles(1:2), "not as many")
    refused(sprintf("{\"kind\":\"list\",\"items\":[%s],\"names\":[1]}", node), a, doubles(1:2), "list of texts")
    refused("{\"kind\":\"list\"}", a, doubles(1:2), "without items")
    with_dim <- function(dim) sub("}$", paste0(",\"dim\":", dim, "}"), node)
    refused(with_dim("[3]"), a, doubles(1:2), "does not fit its values")
    refused(with_dim("[4294967296,0]"), a, doubles(1:2), "R cannot have")
    refused(with_dim("[-1,-2]"), a, doubles(1:2), "R cannot have")
    refused(with_dim("[]"), a, doubles(1:2), "list of extents")
    refused(with_dim(paste0("[", strrep("1,", 70), "2]")), a, doubles(1:2), "list of extents")
    refused(sprintf("{\"kind\":\"frame\",\"rows\":3,\"names\":[\"x\"],\"items\":[%s]}", node), a, doubles(1:2), "as many rows")
    refused(sprintf("{\"kind\":\"frame\",\"rows\":-2,\"names\":[\"x\"],\"items\":[%s]}", node), a, doubles(1:2), "without rows")
    refused("{\"kind\":\"array\",\"type\":\"difftime\",\"units\":\"moons\",\"tensor\":\"a\"}", a, doubles(1:2), "units")
    text <- function(type = "character", more = "") sprintf("{\"kind\":\"array\",\"type\":\"%s\",\"tensor\":\"t\",\"offsets\":\"o\"%s}", type, more)
    strings <- function(offsets, bytes, why) {
        to <- length(offsets) * 8
        refused(text(), paste0(tensor("o", "I64", length(offsets), 0, to), ",", tensor("t", "U8", length(bytes), to, to + length(bytes))),
                c(vapply(offsets, function(offset) writeBin(as.integer(c(offset, if (offset < 0) -1 else 0)), raw()), raw(8)), bytes), why)
    }
    strings(c(0, 1), charToRaw("ab"), "do not lie in it")
    strings(c(1, 2), charToRaw("ab"), "do not lie in it")
    strings(c(0, 5, 2), charToRaw("ab"), "do not lie in it")
    strings(c(0, -1, 2), charToRaw("ab"), "do not lie in it")
    strings(c(0, 2), as.raw(c(65, 0)), "NUL")
    strings(c(0, 1, 2), charToRaw("\u00e4"), "not UTF-8")
    expect_error(read_back(with_tree(text(), paste0(tensor("o", "I64", "0", 0, 0), ",", tensor("t", "U8", "0", 0, 0)))),
                 "places of its strings", class = "pyrmap_damaged_bundle")
    factor <- function(code, levels = "xy") {
        root <- paste0("{\"kind\":\"array\",\"type\":\"factor\",\"tensor\":\"f\",\"levels\":", text(), "}")
        with_tree(root, paste0(tensor("o", "I64", "3", 0, 24), ",", tensor("f", "I32", "1", 24, 28), ",", tensor("t", "U8", "2", 28, 30)),
                  c(as.raw(c(rep(0, 8), 1, rep(0, 7), 2, rep(0, 7))), writeBin(code, raw()), charToRaw(levels)))
    }
    expect_identical(read_back(factor(2L)), base::factor("y", levels = c("x", "y")))
    for (code in c(0L, 3L, -1L))
        expect_error(read_back(factor(code)), "beyond its levels", class = "pyrmap_damaged_bundle")
    expect_error(read_back(factor(1L, "xx")), "that differ", class = "pyrmap_damaged_bundle")
    newer <- segment("{\"__metadata__\":{\"pyrmap\":\"{\\\"version\\\":2,\\\"root\\\":null}\"}}")
    expect_error(read_back(newer), "another version than 1", class = "pyrmap_damaged_bundle")
})

test_that("a damaged byte anywhere is an error or another value, never a crash", {
    set.seed(9)
    good <- written(list(a = c("x", NA), b = factor(c("u", "v")), d = iris[1:3, ], m = matrix(1:4, 2)))
    outcomes <- vapply(1:2000, function(i) {
        bad <- good
        at <- sample(length(bad), sample(3, 1))
        bad[at] <- as.raw(sample(0:255, length(at), TRUE))
        tryCatch({
            read_back(bad)
            "value"
        }, pyrmap_damaged_bundle = function(condition) "refused", pyrmap_loss = function(condition) "loss")
    }, "")
    expect_true(all(c("value", "refused") %in% outcomes))
})
