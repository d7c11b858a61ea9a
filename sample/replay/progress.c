/* Turns counts of calls into a bar on stderr. See progress.h. */
#define _POSIX_C_SOURCE 200809L

#include "progress.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	CALLS = 4096, /* between two looks at the clock */
	CELLS = 40,   /* the width of the bar */
};

static struct {
	bool is_wanted, is_shown;
	double began, drawn; /* seconds */
} progress;

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void progress_begin(bool is_wanted)
{
	progress.is_wanted = is_wanted && isatty(STDERR_FILENO);
	progress.began = seconds_now();
}

/* Draws the bar, for work that takes a while already. */
static void bar_draw(double part)
{
	double now = seconds_now();
	int cells = (int)((part > 1 ? 1 : part) * (double)CELLS);

	if (!progress.is_wanted || now - progress.began < 0.5 || now - progress.drawn < 0.1)
		return;
	progress.drawn = now;
	progress.is_shown = true;
	fprintf(stderr, "\r[%.*s%*s] %3d %%", cells, "########################################",
	        CELLS - cells, "", (int)(part * 100));
	fflush(stderr);
}

void progress_show(size_t done, size_t all)
{
	if (done % CALLS == 0)
		bar_draw((double)done / (double)all);
}

void progress_read(FILE *in, size_t calls)
{
	struct stat file;

	if (calls % CALLS == 0 && fstat(fileno(in), &file) == 0 && S_ISREG(file.st_mode))
		bar_draw((double)ftello(in) / (double)(file.st_size + 1));
}

void progress_end(void)
{
	if (progress.is_shown)
		fprintf(stderr, "\r\033[K");
	progress.is_shown = false;
}
