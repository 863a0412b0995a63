# The front door: each target sets up what is missing, builds, and does one thing.
# WERROR=true makes warnings errors, as .ci/run does.
B ?= build
WERROR ?= false
export CFLAGS ?=

.PHONY: all setup check demo asan tsan sim sim-teeth fuzz soak held-up vm-check bench-quick bench-adaptive bench-pacing bench-estimate bench-scale install format clean help

all: setup            ## build everything into build/
	@scripts/build.sh $(B) -Dwerror=$(WERROR)

setup:                ## install missing Debian packages
	@scripts/packages.sh

check: all            ## build and run the tests
	@scripts/check.sh $(B)

demo: all             ## see a volume move under load: copy, pause, switch, undo, commit
	@scripts/demo.sh

asan: setup           ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/build.sh build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=$(WERROR)
	@scripts/check.sh build-asan -t 4

tsan: setup           ## the tests under ThreadSanitizer
	@scripts/build.sh build-tsan -Db_sanitize=thread -Db_lundef=false -Dwerror=$(WERROR)
	@scripts/check.sh build-tsan -t 4

sim: all              ## the simulator, for SIM_SECONDS (default 60)
	@$(B)/dray-sim --seconds $${SIM_SECONDS:-60}

sim-teeth: all        ## plant one fault after the other in the engine: the simulator must find each
	@$(B)/dray-sim-teeth --teeth

fuzz:                 ## libFuzzer on everything that reads from outside, FUZZ_SECONDS each (default 30)
	@scripts/packages.sh fuzz
	@scripts/fuzz.sh

soak: all             ## the crash tests with 50 kills each, and the simulator for SOAK_SECONDS (default 600)
	@scripts/soak.sh $(B)

held-up: all          ## the tests, while each of their processes is stopped for seconds at random moments
	@tests/tools/hold-up.py scripts/check.sh $(B) -t 6 --suite agent --suite func --suite fault --suite crash

vm-check: all         ## real LVM, SCSI, loop and NBD devices and loss of power, in emulated machines (VM="part of a name" ...)
	@scripts/packages.sh vm
	@scripts/vm-check.sh $(B) $(VM)

bench-quick: all      ## the I/O path beside its peers, under 5 minutes
	@bench/quick.sh

bench-adaptive: all   ## an application that works, saturates its disk and sleeps while its volume is copied, with a plot
	@bench/adaptive.py --svg $(B)/bench/adaptive.svg

bench-pacing: all     ## how evenly a copy keeps to its rate, with a plot
	@bench/pacing.py --svg $(B)/bench/pacing.svg

bench-estimate: all    ## estimates against what the sessions take, as ratios, some 10 minutes
	@bench/estimate.py

bench-scale: all      ## what one costs where there are thousands, some 15 minutes
	@bench/scale.py

install: all          ## install into PREFIX (default /usr/local), DESTDIR honoured
	@meson configure $(B) -Dprefix=$${PREFIX:-/usr/local} && meson install -C $(B)

format:               ## clang-format the tree
	@clang-format -i $$(git ls-files '*.c' '*.h')

clean:                ## remove the build folders
	@rm -rf build build-*

help:                 ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
