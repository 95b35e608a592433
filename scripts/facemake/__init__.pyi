from facemake.extraction import Pife as Pife
from facemake.extraction import crop_face_from_frame as crop_face_from_frame
from facemake.extraction import extract_faces as extract_faces
from facemake.processors import FaceProcessor as FaceProcessor
from facemake.processors import FaceProcessor3DI as FaceProcessor3DI
from facemake.processors import FaceProcessor3DIlite as FaceProcessor3DIlite
from facemake.version import __version__ as __version__
