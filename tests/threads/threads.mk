# Threads and forks: what test_threads and the stress need beside the others, and both of them under
# ThreadSanitizer. STRESS_CALLS is the number of calls that each run of the stress makes in all.

STRESS_CALLS ?= 10000000
TSAN_STRESS_CALLS ?= 300000
TSAN_CC ?= $(CC)

threaded := $(build)/tests/threads/test_threads $(build)/tests/threads/test_caches \
	$(build)/tests/threads/stress
$(threaded) $(build)/tests/threads/test_steps: $(build)/tests/threads/churn.o

# It includes mems.c itself, to see when the caches of threads are open.
$(build)/tests/threads/test_caches: $(build)/tests/threads/test_caches.o \
		$(build)/tests/threads/churn.o $(support)
	$(link) $^ $(cmocka_libs) $(LDLIBS) -o $@

$(build)/tests/threads/stress: $(build)/tests/threads/stress.o $(tested)
	$(link) $^ $(LDLIBS) -o $@

.PHONY: stress tsan tsan-run
stress: $(build)/tests/threads/stress $(build)/tests/threads/test_caches
	@POLICY=first_fit $(RUN) $< $(STRESS_CALLS)
	@POLICY=quick_fit $(RUN) $< $(STRESS_CALLS)
	@POLICY=quick_fit MANY=1000000 $(RUN) $(build)/tests/threads/test_caches

# Nothing is suppressed, and the first report ends a program.
tsan:
	+@$(MAKE) --no-print-directory variant=tsan CC='$(TSAN_CC)' $(tsan_flags) tsan-run

tsan-run: export TSAN_OPTIONS = halt_on_error=1:second_deadlock_stack=1
# Where a kernel scatters addresses more than the sanitizer can bear.
tsan-run: RUN := $(shell setarch -R true 2>/dev/null && echo setarch -R)
tsan-run: $(threaded)
	@tests/run.sh $(build) $(build)/tests/threads/test_threads $(build)/tests/threads/test_caches
	@POLICY=first_fit $(RUN) $(build)/tests/threads/stress $(TSAN_STRESS_CALLS)
	@POLICY=quick_fit $(RUN) $(build)/tests/threads/stress $(TSAN_STRESS_CALLS)
