#include "trace/trace-hw_virtio_svq.h"
