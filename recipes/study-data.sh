#!/bin/sh
# What the studies need: tables, evaluation sets, teachers and the general student that every row
# starts from. `make study-data` runs it, after `make teacher` has taught the larger teachers; a
# teacher that is finished is not taught again.
set -eux

retort data build recipes/stage1.yaml
retort data build recipes/study-labelled.yaml
retort data sets runs/study/sets/qa --queries 60 --depth 20 \
    --choose neuronblocks-valid --choose wikiqa-dev
retort data tasks runs/study/sets/tasks
retort data build recipes/tasks-rte.yaml
retort data build recipes/tasks-qnli.yaml
retort data build recipes/tasks-snli.yaml
retort data build recipes/tasks-mrpc.yaml
retort data build recipes/tasks-sst2.yaml
retort data build recipes/amazon.yaml
retort data tasks runs/study/sets/tasks --task amazon-books --task amazon-dvd \
    --task amazon-electronics --task amazon-kitchen

retort teach recipes/backbone.yaml
retort distill recipes/general.yaml

# Weak teachers of several capacities, for stochastic distillation.
retort teach recipes/ce-small.yaml
retort teach recipes/ce-small.yaml name=ce-3 "layers=[1,3,5]" out=runs/teachers/ce-3
retort teach recipes/ce-small.yaml name=ce-2 "layers=[2,5]" out=runs/teachers/ce-2
retort teach recipes/ce-small.yaml name=ce-1 "layers=[5]" out=runs/teachers/ce-1
retort teach recipes/ce-small.yaml name=ce-narrow "layers=[1,3,5]" width=192 \
    out=runs/teachers/ce-narrow

# Meta-KD's teachers of several domains, and the one they are compared with.
retort teach recipes/qa-meta.yaml
retort teach recipes/amazon-mix.yaml
retort teach recipes/amazon-meta.yaml

# Three teachers per sentence task, which differ in seed, learning rate and dropout.
task_teacher() {
    retort teach recipes/task-teacher.yaml name="task-$1-$2" out="runs/teachers/task-$1-$2" \
        table="runs/data/tasks/$1.parquet" seed="$3" optimiser.lr="$4" dropout="$5"
}
for task in rte qnli snli mrpc sst2; do
    task_teacher "$task" a 21 1.0e-4 0.1
    task_teacher "$task" b 22 5.0e-5 0.0
    task_teacher "$task" c 23 2.0e-4 0.2
done
