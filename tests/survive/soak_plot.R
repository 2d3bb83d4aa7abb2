# SPDX-License-Identifier: Apache-2.0
# Draws what soak.py has recorded: soak_plot.R FILE.csv FILE.png

argument <- commandArgs(TRUE)
rows <- read.csv(argument[1L])
minutes <- rows$seconds / 60

# A picture has room for so many points: of the samples in between it shows the mean, and how far they go.
parts <- min(90L, nrow(rows))
part <- cut(seq_len(nrow(rows)), parts, labels = FALSE)
middle <- tapply(minutes, part, mean)

panel <- function(names, unit, title, colours) {
    shown <- lapply(names, function(name) rows[[name]] / unit)
    top <- max(unlist(shown), 1e-9)
    plot(NA, xlim = range(0, minutes), ylim = c(0, 1.1 * top), xlab = "", ylab = "", main = title, las = 1, bty = "l")
    for (i in seq_along(names)) {
        low <- tapply(shown[[i]], part, min)
        high <- tapply(shown[[i]], part, max)
        polygon(c(middle, rev(middle)), c(low, rev(high)), col = grDevices::adjustcolor(colours[i], 0.2), border = NA)
        lines(middle, tapply(shown[[i]], part, mean), col = colours[i], lwd = 1.5)
    }
    if (length(names) > 1L)
        legend("topright", legend = names, col = colours, lwd = 2, bty = "n", horiz = TRUE)
}

png(argument[2L], width = 760, height = 500, type = "cairo", antialias = "gray")
par(mfrow = c(3L, 2L), mar = c(2.5, 3.5, 2, 0.5), cex = 0.75, mgp = c(2, 0.6, 0))
blue <- "#1f5fa8"
red <- "#b03a2e"
panel(c("rss", "anonymous"), 2^20, "memory of the filesystem's processes, MiB", c(blue, red))
panel("descriptors", 1, "their descriptors", blue)
panel(c("used", "warm"), 2^20, "arena, MiB", c(blue, red))
panel("parked", 1, "parked requests", blue)
panel("slots", 1, "slots", blue)
panel("takeovers", 1, "takeovers (kills and upgrades), over minutes", blue)
invisible(dev.off())
