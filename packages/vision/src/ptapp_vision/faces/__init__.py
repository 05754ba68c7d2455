"""Faces in photographs and videos: found, turned upright, cropped, classified, and drawn with what the model says.

To import it raises UserError where OpenCV is not installed.
"""

from ptapp_core.errors import UserError, install

try:
    import cv2  # noqa: F401
except ImportError as error:
    raise UserError(f"faces are found by OpenCV: {install('ptapp-vision', 'faces')}") from error
