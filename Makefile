PYTHON ?= python3
BIN := .venv/bin
DEMO_DATA := data/demo
DEMO_OUT := output/demo
DEMO_LISTS := $(DEMO_OUT)/lists
# The small tower learns from 2.9k crops in minutes; lambda is updated in every fourth step.
DEMO_TRAIN := --VM demo --aug --aug_probs 0.3 --batch_size 32 --pairs --num_epoch 2 --t_max 2 --initial_lr 1e-3 --weight autol --lambda_every 4
CONTROL_OUT := output/demo-control
SELF_OUT := output/demo-self-blend
REGIONS := $(DEMO_DATA)/FF++/expansion/c23/test
SELF_TRAIN := --VM demo --aug --aug_probs 0.3 --batch_size 32 --num_epoch 60 --t_max 60 --initial_lr 1e-3 --weight autol --lambda_every 4
# Processes of the tests; each needs about 1.5 GB of memory.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

.PHONY: setup demo demo-data demo-control demo-self-blend ablation test test-all test-cpus stress lint browser-test bench gpu-check clean

setup: .venv/.runtime

.venv/.runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed; make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt requirements-app.txt requirements-export.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

demo-data: .venv/.runtime
	@echo "== 1/5 miniature FF++ of six people: two photographs and variations of them"
	$(BIN)/python preprocessing/make_demo_videos.py --data_root $(DEMO_DATA) --n_train 160 --n_val 20 --n_test 80
	@echo "== 2/5 face crops"
	$(BIN)/python preprocessing/extract_faces.py --dataset FFpp --data_root $(DEMO_DATA) --n_frames 2
	$(BIN)/python preprocessing/expand_FFpp.py --data_root $(DEMO_DATA)

demo: demo-data
	@echo "== 3/5 lists"
	$(BIN)/python preprocessing/make_lists.py --data_root $(DEMO_DATA) --n_frames 2 --balance none --expansion --expansion_share 1 \
		--output $(DEMO_LISTS)
	@echo "== 4/5 training"
	rm -rf $(DEMO_OUT)/train
	$(BIN)/python SJEDD_train_FFpp.py $(DEMO_TRAIN) --output $(DEMO_OUT) --name train --tag demo \
		--txt_path_train $(DEMO_LISTS)/train.txt --txt_path_val $(DEMO_LISTS)/val.txt
	@echo "== 5/5 test on videos that training never saw"
	$(BIN)/python SJEDD_test.py --auc --dataset FFpp --data_root $(DEMO_DATA) --n_frames 2 --batch_size 32 \
		--resume $(DEMO_OUT)/train/demo/ckpt_best.pth --output $(DEMO_OUT) --name test
	$(BIN)/python SJEDD_report.py $(DEMO_OUT)/test/FFpp --summary

# The same with the codes of the training list shuffled among its images: what is left is no detector.
demo-control: demo-data
	$(BIN)/python preprocessing/make_lists.py --data_root $(DEMO_DATA) --n_frames 2 --balance none --expansion --expansion_share 1 \
		--shuffle_codes 0 --output $(CONTROL_OUT)/lists
	rm -rf $(CONTROL_OUT)/train
	$(BIN)/python SJEDD_train_FFpp.py $(DEMO_TRAIN) --output $(CONTROL_OUT) --name train --tag demo \
		--txt_path_train $(CONTROL_OUT)/lists/train.txt --txt_path_val $(CONTROL_OUT)/lists/val.txt
	$(BIN)/python SJEDD_test.py --auc --dataset FFpp --data_root $(DEMO_DATA) --n_frames 2 --batch_size 32 \
		--resume $(CONTROL_OUT)/train/demo/ckpt_last.pth --output $(CONTROL_OUT) --name test
	$(BIN)/python SJEDD_report.py $(CONTROL_OUT)/test/FFpp --summary

# Trained on the demo's reals alone: self-blends of them are its fakes. Tested on the demo's fakes (whole faces, mouths) and
# on transplants of single regions. Then the control: the same without blends, every second real is called a fake.
demo-self-blend: demo-data
	$(BIN)/python preprocessing/expand_FFpp.py --data_root $(DEMO_DATA) --split test
	$(BIN)/python preprocessing/make_lists.py --data_root $(DEMO_DATA) --n_frames 2 --balance none --output $(SELF_OUT)/lists
	rm -rf $(SELF_OUT)/blends $(SELF_OUT)/control
	mkdir $(SELF_OUT)/blends $(SELF_OUT)/control
	cd $(SELF_OUT) && for split in train val; do \
		grep ' 1000000000$$' lists/$$split.txt > blends/$$split.txt; \
		sed 'n; s/ 1000000000$$/ 0101011111/' blends/$$split.txt > control/$$split.txt; done
	grep ' 1000000000$$' $(SELF_OUT)/lists/test.txt > $(SELF_OUT)/regions.txt
	awk -F , 'NR > 1 {print "$(REGIONS)/" $$1, $$3}' $(REGIONS)/manifest.csv >> $(SELF_OUT)/regions.txt
	for run in blends control; do \
		$(BIN)/python SJEDD_train_FFpp.py $(SELF_TRAIN) $$(test $$run = control || echo --self_blend 0.5 --real_only) \
			--output $(SELF_OUT)/$$run --name train --tag demo \
			--txt_path_train $(SELF_OUT)/$$run/train.txt --txt_path_val $(SELF_OUT)/$$run/val.txt && \
		$(BIN)/python SJEDD_test.py --auc --dataset FFpp --data_root $(DEMO_DATA) --n_frames 2 --batch_size 32 \
			--resume $(SELF_OUT)/$$run/train/demo/ckpt_last.pth --output $(SELF_OUT)/$$run --name test && \
		$(BIN)/python SJEDD_test.py --auc --dataset list --datapath $(SELF_OUT)/regions.txt --batch_size 32 \
			--resume $(SELF_OUT)/$$run/train/demo/ckpt_last.pth --output $(SELF_OUT)/$$run --name test && \
		$(BIN)/python SJEDD_report.py $(SELF_OUT)/$$run/test/FFpp --summary && \
		$(BIN)/python SJEDD_report.py $(SELF_OUT)/$$run/test/list --summary || exit 1; done

# Every weighting, gradient method, loss and ablation, trained shortly on the demo's crops: one table. ABLATION adds
# options: make ablation ABLATION="--lists data/lists --every 1 --VM ViT-B/32 --output output/ablation"
ablation: .venv/.runtime
	test -n "$(ABLATION)" || test -f $(DEMO_LISTS)/train.txt || $(MAKE) demo
	rm -rf $(DEMO_OUT)/ablation
	$(BIN)/python benchmarks/ablation.py --lists $(DEMO_LISTS) --output $(DEMO_OUT)/ablation $(ABLATION)

# The quick tests. Times are in CONTRIBUTING.md.
test: .venv/.dev
	$(PYTEST) -m "not slow"

# All tests, also the slow ones.
test-all: .venv/.dev
	$(PYTEST)

# The numeric tests with the kernels of other CPUs.
test-cpus: .venv/.dev
	$(BIN)/python -m tests.other_cpus -n $(TEST_PROCESSES) --dist worksteal

# Hostile files, faults and load: docs/reliability.md. Not part of the tests above.
stress: .venv/.dev
	$(BIN)/python -m pytest -o python_files='stress_*.py' tests/stress

# Style, layout and types; pyproject.toml has the rules.
lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The web page in a headless Chromium, with the demo's checkpoint and videos; pictures of it in output/demo/browser.
browser-test: .venv/.dev
	test -f $(DEMO_OUT)/train/demo/ckpt_best.pth || $(MAKE) demo
	$(BIN)/python -m pip install --quiet playwright
	$(BIN)/python -m tests.browser.app_in_chromium --resume $(DEMO_OUT)/train/demo/ckpt_best.pth --output $(DEMO_OUT)/browser

# The CUDA path on one GPU, in at most 8 minutes on an H100.
gpu-check: .venv/.runtime
	$(BIN)/python benchmarks/gpu_check.py

bench: .venv/.runtime
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/launches.py

clean:
	rm -rf $(DEMO_DATA) $(DEMO_OUT) $(CONTROL_OUT) $(SELF_OUT) .hypothesis .pytest_cache .ruff_cache .mypy_cache
