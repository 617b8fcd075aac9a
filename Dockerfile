# The image that every step of the pipeline runs in, and, as the target `serving`, the one that serves what comes out: without PyTorch, and far smaller.
# docs/image.md says how to build them for a cluster, behind a proxy, and without a network.
#
#   docker build --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:... --tag asdfd:0.1.0 .
#   docker build --target serving --tag asdfd-serving:0.1.0 .
#
# BASE_IMAGE  a Debian image with python3 and its venv module, the same for building and running. A release names it with its digest.
# VARIANT     cuda (runs on an NVIDIA GPU, and without one) or cpu (far smaller). It says which build of PyTorch is expected; the image is not
#             made where pip finds the other one. Whatever chooses pip's packages is given to pip: PIP_* below, or a pip.conf as the secret `pip`.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG VARIANT=cuda

# What installs, and what it is to install. It is lent to the stages below and stays out of the image.
FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/asdfd
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = project['optional-dependencies']; \
served = [*extras['serving'], *extras['s3'], *extras['prometheus'], *extras['signing']]; \
print(*project['dependencies'], *extras['kubeflow'], *served, sep='\n'); print(*served, sep='\n', file=open('serving.txt', 'w'))" > requirements.txt

FROM ${BASE_IMAGE} AS runtime-cpu

# PyTorch brings CUDA's libraries along; the node's driver is let in by these two.
FROM ${BASE_IMAGE} AS runtime-cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The default is repeated here: podman before 4.4 looks for the stage before it has read the one above.
# hadolint ignore=DL3006
FROM runtime-${VARIANT:-cuda} AS dependencies
ARG VARIANT
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Copied and not only lent: podman takes a layer for unchanged whatever has changed in a stage that is mounted.
COPY --from=build /build/requirements.txt /build/constraints.txt /opt/asdfd/
# Compiled here, once, since a read-only root cannot keep what is compiled later. Some packages carry files for other versions of Python, which do not compile.
# At last goes what the base image itself could install packages with.
RUN --mount=type=bind,from=build,source=/build,target=/mnt --mount=type=secret,id=pip \
    python3 -m venv --without-pip /opt/asdfd \
 && PIP_CONFIG_FILE=/run/secrets/pip /mnt/pip/bin/python3 -m pip --python /opt/asdfd/bin/python3 \
      install --no-cache-dir --no-compile --requirement /opt/asdfd/requirements.txt --constraint /opt/asdfd/constraints.txt \
 && /opt/asdfd/bin/python3 -B -c "import sys, torch; found = 'cuda' if torch.version.cuda else 'cpu'; \
sys.exit(found != sys.argv[1] and f'VARIANT={sys.argv[1]} is asked for, and pip found PyTorch {torch.__version__}; see docs/image.md')" "${VARIANT}" \
 && { /opt/asdfd/bin/python3 -m compileall -qq -j 0 -x '/tests/|/testing/_internal/' --invalidation-mode unchecked-hash /opt/asdfd/lib || true; } \
 && rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip /usr/share/python-wheels \
      /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/site-packages/setuptools* /usr/local/lib/python3*/site-packages/wheel* \
 && echo 'asdfd:x:10001:0:asdfd:/tmp:/usr/sbin/nologin' >> /etc/passwd

FROM ${BASE_IMAGE} AS serving-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY --from=build /build/serving.txt /build/constraints.txt /opt/asdfd/
RUN --mount=type=bind,from=build,source=/build,target=/mnt --mount=type=secret,id=pip \
    python3 -m venv --without-pip /opt/asdfd \
 && PIP_CONFIG_FILE=/run/secrets/pip /mnt/pip/bin/python3 -m pip --python /opt/asdfd/bin/python3 \
      install --no-cache-dir --no-compile --requirement /opt/asdfd/serving.txt --constraint /opt/asdfd/constraints.txt \
 && { /opt/asdfd/bin/python3 -m compileall -qq -j 0 -x '/tests/' --invalidation-mode unchecked-hash /opt/asdfd/lib || true; } \
 && rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip /usr/share/python-wheels \
      /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/site-packages/setuptools* /usr/local/lib/python3*/site-packages/wheel* \
 && echo 'asdfd:x:10001:0:asdfd:/tmp:/usr/sbin/nologin' >> /etc/passwd

FROM build AS package
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY . .
RUN --mount=type=secret,id=pip \
    PIP_CONFIG_FILE=/run/secrets/pip /build/pip/bin/python3 -m pip --python /opt/asdfd/bin/python3 \
      install --no-cache-dir --no-compile --no-deps --prefix /opt/package . \
 && /opt/asdfd/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/package/lib

FROM serving-dependencies AS serving
COPY --from=package /opt/package /opt/asdfd
ENV PATH=/opt/asdfd/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:0
WORKDIR /tmp
EXPOSE 8080
CMD ["asdfd", "serve", "--help"]
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG SOURCE=
RUN :
LABEL org.opencontainers.image.title="asdfd-serving" \
      org.opencontainers.image.description="Compressed text classifiers behind the Open Inference Protocol" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

FROM dependencies AS runtime
# A layer of its own: a change of asdfd is little to pull, not all that it needs.
COPY --from=package /opt/package /opt/asdfd
# Any user may run it, and only /tmp needs to be writable. LOGNAME: PyTorch asks for the user's name, and a numeric user of a cluster has none.
ENV PATH=/opt/asdfd/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LOGNAME=asdfd \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    TRITON_CACHE_DIR=/tmp/triton \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:0
WORKDIR /tmp
# No entry point: Kubeflow's runners give a command of their own.
CMD ["asdfd", "--help"]

# Last, since they change with every build and the layers above need not. The command does nothing: podman 4.3 looks at arguments before it takes a command
# from an earlier build, but not before it takes labels.
ARG BASE_IMAGE
ARG VARIANT
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG SOURCE=
RUN :
LABEL org.opencontainers.image.title="asdfd" \
      org.opencontainers.image.description="Data-free distillation of fine-tuned text classifiers: the steps of the pipeline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      asdfd.variant="${VARIANT}"
