from facemake.processors import FaceProcessor as FaceProcessor
from facemake.processors import FaceProcessor3DI as FaceProcessor3DI
from facemake.processors import FaceProcessor3DIlite as FaceProcessor3DIlite
from facemake.version import __version__ as __version__
